"""Engines on a real GPU: python -m pytest -m gpu tests/engines/tensorrt/test_engine_gpu.py"""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hrnet_deploy import Predictor, export
from hrnet_deploy.engines.cuda.provider import open_cuda
from hrnet_deploy.engines.tensorrt.engine import TrtEngine
from hrnet_deploy.errors import HrnetDeployError, MissingDependencyError, UsageError
from hrnet_deploy.imaging.synthetic_images import synthetic_images

pytestmark = pytest.mark.gpu

# What TensorRT's own kernels and TF32 may differ from ONNX Runtime by, relative to the largest logit.
TOLERANCE = {"fp32": 5e-3, "fp16": 2e-2}


@pytest.fixture(scope="module")
def gpu():
    """The provider of CUDA, with a GPU behind it."""
    try:
        cuda = open_cuda()
    except MissingDependencyError as error:
        pytest.skip(f"not installed: {error}")
    if not cuda.device_count():
        pytest.skip("needs an NVIDIA GPU and its driver")
    return cuda


@pytest.fixture(scope="module", params=list(TOLERANCE))
def pair(request, gpu, demo, tmp_path_factory):
    """Precision, engine and graph of the photo classifier, batch 1 to 8."""
    folder = tmp_path_factory.mktemp(request.param)
    options = {
        "weights": demo / "hrnet_w18_small_v1_photos10.safetensors",
        "imgsz": 64,
        "resize": "squash",
        "classes": demo / "photos10.txt",
        "precision": request.param,
        "batch": "1:4:8",
    }
    onnx = export(**options, output=folder / "photos.onnx").path
    try:
        engine = export(**options, output=folder / "photos.engine").path
    except MissingDependencyError as error:
        pytest.skip(f"not installed: {error}")
    except UsageError as error:  # this flavour does not list the card, as TensorRT-RTX and sm90
        pytest.skip(f"the table refuses this card: {error}")
    return request.param, engine, onnx


def batch(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3, 64, 64)).astype(np.float32)


def only(outputs):
    (value,) = outputs.values()
    return value


def assert_close(found, wanted, tolerance):
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def test_the_predictor_answers_as_with_onnx_on_real_pictures(pair):
    precision, engine, onnx = pair
    pictures = synthetic_images(8, (120, 160))
    with Predictor(engine) as ours, Predictor(onnx, device="cpu") as reference:
        for found, wanted in zip(ours.predict(pictures, batch=3), reference.predict(pictures, batch=3), strict=True):
            assert_close(found.probs, wanted.probs, 2 * TOLERANCE[precision])
            (_, best), (_, second) = wanted.topk(2)
            if best - second > 4 * TOLERANCE[precision]:
                assert found.label == wanted.label


@pytest.mark.parametrize("count", [1, 3, 8, 13])
def test_every_batch_size_and_every_repetition_gives_the_same(pair, count):
    precision, path, onnx = pair
    x = batch(count)
    with Predictor(onnx, device="cpu") as reference:
        wanted = only(reference.infer(x))
    for graphs in (True, False):
        engine = TrtEngine(path, cuda_graphs=graphs)
        # Eager, recorded and launched runs: the same kernels, so the same bits.
        results = [only(engine.run({"input": x})) for _ in range(4)]
        engine.close()
        assert_close(results[0], wanted, TOLERANCE[precision])
        for result in results[1:]:
            np.testing.assert_array_equal(result, results[0])


def test_shapes_in_turn_do_not_disturb_each_others_graphs(pair):
    _, path, _ = pair
    engine = TrtEngine(path)
    wanted = {count: only(engine.run({"input": batch(count)})) for count in range(1, 9)}
    for count in [*range(1, 9), 1, 2, 1, 2, 8, 8, 1, 3, 3, 3, 2] * 4:
        np.testing.assert_array_equal(only(engine.run({"input": batch(count)})), wanted[count])
    engine.close()


def test_threads_get_the_answers_that_one_gets(pair):
    _, path, _ = pair
    engine = TrtEngine(path)
    batches = [batch(1 + seed % 4, seed) for seed in range(64)]
    wanted = [only(engine.run({"input": x})) for x in batches]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: only(engine.run({"input": x})), batches))
    engine.close()
    for ours, reference in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, reference)


def test_torch_tensors_go_in_and_out_without_the_host(pair):
    torch = pytest.importorskip("torch", reason="needs torch")
    if not torch.cuda.is_available():
        pytest.skip("not installed: torch with CUDA")
    _, path, _ = pair
    engine = TrtEngine(path)
    held = []
    for seed in range(6):
        x = batch(3, seed)
        wanted = only(engine.run({"input": x}))
        with torch.cuda.stream(torch.cuda.Stream()):  # filled on a stream of its own, right before the call
            tensor = torch.from_numpy(x).pin_memory().to("cuda", non_blocking=True).mul(2).div(2)
            found = only(engine.run({"input": tensor}))
        for reader in (lambda a: torch.as_tensor(a, device="cuda"), torch.from_dlpack):
            shared = reader(found)
            assert shared.data_ptr() == found.address
            held.append((shared, wanted))
    engine.close()
    del found, shared, engine
    gc.collect()
    for shared, wanted in held:
        np.testing.assert_array_equal(shared.cpu().numpy(), wanted)
    with pytest.raises(UsageError, match=r"input 'input' must be contiguous"):
        TrtEngine(path).run({"input": torch.zeros(2, 64, 64, 3, device="cuda").permute(0, 3, 1, 2)})


def test_memory_comes_back_after_closing(pair, gpu):
    _, path, _ = pair
    TrtEngine(path).close()
    before = gpu.memory_info(0)[0]
    for _ in range(5):
        engine = TrtEngine(path)
        for count in (1, 1, 2, 2):
            engine.run({"input": batch(count)})
        engine.close()
    assert gpu.memory_info(0)[0] >= before - (64 << 20)


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_engine_is_one_clear_line(pair, tmp_path, keep):
    _, path, _ = pair
    content = path.read_bytes()
    (tmp_path / "cut.engine").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(HrnetDeployError, match=r"^[^\n]*cut\.engine[^\n]*$"):
        TrtEngine(tmp_path / "cut.engine")
