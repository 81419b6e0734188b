"""Pinned copies, with a fake GPU whose memory is this process's."""

import gc

import numpy as np
import onnxruntime
import pytest

from hrnet_deploy.engines.ort.io_binding import BoundSession
from hrnet_deploy.engines.ort.staging import PinnedStaging, open_staging
from hrnet_deploy.errors import DeviceError, MissingDependencyError


@pytest.fixture
def staging(cuda):
    return PinnedStaging(cuda, 0)


def on_gpu(array):
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


def noise(*shape, dtype=np.float32, seed=0):
    return (100 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64"])
def test_arrays_arrive_and_return_whole_whatever_came_before(staging, cuda, dtype):
    for seed, shape in enumerate([(2, 3, 4), (1, 5), (4, 7, 9), (1, 5)]):
        array = noise(*shape, dtype=dtype, seed=seed)
        target = on_gpu(np.zeros_like(array))
        staging.load({"x": target}, {"x": array})
        np.testing.assert_array_equal(target.numpy(), array)
        np.testing.assert_array_equal(staging.store({"y": target})["y"], array)
    assert len(cuda.live_host) == 2
    staging.close()
    assert cuda.leftovers == 0


def test_what_was_returned_is_the_caller_s(staging):
    first, second = noise(3, 4, seed=1), noise(3, 4, seed=2)
    found = staging.store({"y": on_gpu(first)})["y"]
    staging.store({"y": on_gpu(second)})
    np.testing.assert_array_equal(found, first)


def test_strided_and_empty_arrays_are_fine(staging):
    array = noise(4, 6).T
    target = on_gpu(np.zeros((6, 4), np.float32))
    staging.load({"x": target}, {"x": array})
    np.testing.assert_array_equal(target.numpy(), array)
    nothing = on_gpu(np.zeros((0, 4), np.float32))
    staging.load({"x": nothing}, {"x": np.zeros((0, 4), np.float32)})
    assert staging.store({"y": nothing})["y"].shape == (0, 4)


@pytest.mark.slow
def test_a_bound_session_answers_as_with_plain_copies(cuda, photos_onnx):
    session = onnxruntime.InferenceSession(str(photos_onnx), providers=["CPUExecutionProvider"])
    plain, pinned = (
        BoundSession(session, device_type="cpu", device=0, graphs=True, staging=one)
        for one in (None, PinnedStaging(cuda, 0))
    )
    for seed, count in enumerate((1, 3, 1)):
        x = noise(count, 3, 64, 64, seed=seed)
        found, wanted = (runner.run({"input": x})["logits"] for runner in (pinned, plain))
        np.testing.assert_array_equal(found, wanted)
    assert cuda.calls["copy_in"] == cuda.calls["copy_out"] == 3
    pinned.close()
    plain.close()
    assert cuda.leftovers == 0


def test_a_session_that_nobody_closes_gives_its_memory_back(cuda):
    staging = PinnedStaging(cuda, 0)
    staging.load({"x": on_gpu(noise(3))}, {"x": noise(3)})
    assert cuda.leftovers == 2
    del staging
    gc.collect()
    assert cuda.leftovers == 0


def test_without_bindings_or_gpu_copies_stay_onnx_runtime_s_unless_pinned_ones_are_wanted(monkeypatch):
    def fail(kind):
        raise kind("no luck")

    for kind in (MissingDependencyError, DeviceError):
        monkeypatch.setattr("hrnet_deploy.engines.cuda.provider.open_cuda", lambda provider, kind=kind: fail(kind))
        assert open_staging(0, wanted=None) is None
        with pytest.raises(kind, match="no luck"):
            open_staging(0, wanted=True)
        assert open_staging(0, wanted=False) is None
