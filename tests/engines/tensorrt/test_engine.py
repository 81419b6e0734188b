import gc
import hashlib
import json
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.fake_cuda import FakeCuda
from helpers.fake_tensorrt import FakeTensorRT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrnet_deploy.artifact.card import CARD_KEY, card_metadata
from hrnet_deploy.artifact.engine_sidecar import EngineSidecar, sidecar_path, write_sidecar
from hrnet_deploy.engines.cuda.cuda_python import CudaPython
from hrnet_deploy.engines.tensorrt.engine import TrtEngine
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingFileError, UsageError
from hrnet_deploy.spec import ModelCard, OutputKind, Precision, Preprocessing, ShapeRange, Task, TensorSpec

PROFILES = [[[1, 3], [4, 3], [8, 3]]]
CARD = ModelCard(
    task=Task.CLASSIFICATION,
    variant="foreign",
    classes=("a", "b", "c"),
    preprocessing=Preprocessing(size_hw=(8, 8)),
    precision=Precision.FP32,
    inputs=(TensorSpec("x", "float32", ("batch", 3)),),
    outputs=(TensorSpec("z", "float32", ("batch",)), TensorSpec("y", "float32", ("batch", 3))),
    shapes=ShapeRange((1, 8, 8), (4, 8, 8), (8, 8, 8)),
    output_kind=OutputKind.PROBABILITIES,
)


def rows(count, seed=0, width=3):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def assert_right(found, x):
    np.testing.assert_array_equal(found["y"], x * 2)
    np.testing.assert_allclose(found["z"], x.sum(axis=1), rtol=1e-6)


@pytest.fixture
def opened(tmp_path, cuda, trt):
    """Makes engines on the fake GPU; all of it must be free again once they are closed."""
    made = []

    def make(trt=trt, content=None, **options):
        facts = {key: options.pop(key) for key in list(options) if key not in {"contexts", "cuda_graphs", "device"}}
        path = tmp_path / f"net{len(made)}.engine"
        path.write_bytes(content or trt.plan(**{"profiles": PROFILES, **facts}))
        made.append(TrtEngine(path, api=trt.api, cuda=cuda, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()
    gc.collect()
    assert cuda.leftovers == 0


@pytest.mark.slow
def test_an_engine_tells_what_it_takes_gives_and_carries(opened):
    engine = opened()
    assert engine.inputs == (TensorSpec("x", "float32", ("batch", 3)),)
    assert engine.outputs == (TensorSpec("y", "float32", ("batch", 3)), TensorSpec("z", "float32", ("batch",)))
    assert (engine.backend, engine.device, engine.metadata) == ("tensorrt", "cuda:0", {})


@pytest.mark.slow
@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_batch_comes_back_computed_however_often_it_is_run(opened, graphs, count):
    engine = opened(cuda_graphs=graphs)
    for seed in range(5):
        x = rows(count, seed)
        assert_right(engine.run({"x": x}), x)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["FLOAT", "HALF", "UINT8"])
def test_types_stay_what_they_are(opened, dtype):
    engine = opened(dtype=dtype)
    x = np.arange(6).reshape(2, 3).astype({"FLOAT": "f4", "HALF": "f2", "UINT8": "u1"}[dtype])
    found = engine.run({"x": x})["y"]
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, x * 2)


@pytest.mark.slow
def test_results_and_inputs_belong_to_the_caller(opened):
    engine = opened()
    x = rows(2)
    before = x.copy()
    first = engine.run({"x": x})
    engine.run({"x": rows(2, 9)})
    engine.close()
    np.testing.assert_array_equal(x, before)
    assert_right(first, before)


@pytest.mark.slow
def test_arrays_need_not_be_contiguous(opened):
    x = rows(3, width=4).T[:3].T[::-1]
    assert not x.flags.c_contiguous
    assert_right(opened().run({"x": x}), x)


@pytest.mark.slow
def test_a_shape_runs_eagerly_then_is_recorded_then_launched(opened, cuda):
    engine = opened()
    seen = []
    for _ in range(4):
        engine.run({"x": rows(2)})
        seen.append((cuda.calls["begin_capture"], cuda.calls["launch"]))
    assert seen == [(0, 0), (1, 0), (1, 1), (1, 2)]


@pytest.mark.slow
def test_known_shapes_allocate_nothing(opened, cuda, trt):
    engine = opened()
    for _ in range(3):
        for count in (1, 2, 3):
            engine.run({"x": rows(count)})
    before = (cuda.calls["allocate"], cuda.calls["allocate_host"], trt.contexts, cuda.calls["stream"])
    for count in (1, 2, 3) * 3:
        engine.run({"x": rows(count)})
    assert (cuda.calls["allocate"], cuda.calls["allocate_host"], trt.contexts, cuda.calls["stream"]) == before


@pytest.mark.slow
def test_contexts_of_a_slot_share_their_activation_memory(opened, cuda):
    engine = opened(scratch=1 << 20)
    used = cuda.total - cuda.memory_info(0)[0]
    for count in (1, 1, 2, 2, 3, 3):
        engine.run({"x": rows(count)})
    assert used >= 1 << 20
    assert cuda.total - cuda.memory_info(0)[0] == used


@pytest.mark.slow
def test_a_recording_that_fails_is_said_once_and_the_results_stay_right(opened, trt, cuda, caplog):
    trt.broken_graphs = True
    engine = opened()
    for seed in range(4):
        x = rows(2, seed)
        assert_right(engine.run({"x": x}), x)
    (message,) = [r.message for r in caplog.records if "CUDA graphs" in r.message]
    assert message.startswith("net0.engine runs without CUDA graphs: net0.engine must run, got a refusal by TensorRT: ")
    assert "operation not permitted when stream is capturing" in message
    assert cuda.calls["begin_capture"] == 1
    assert not cuda.graphs


@pytest.mark.slow
@pytest.mark.parametrize("call", ["begin_capture", "end_capture"])
def test_a_gpu_that_cannot_record_runs_eagerly(opened, cuda, call):
    engine = opened()
    cuda.failures[call] = 1
    for seed in range(4):
        x = rows(2, seed)
        assert_right(engine.run({"x": x}), x)
    assert (cuda.calls["begin_capture"], cuda.calls["launch"]) == (1, 0)


@pytest.mark.slow
def test_no_context_for_a_recording_means_no_graphs(opened, trt, cuda):
    engine = opened()
    engine.run({"x": rows(2)})
    trt.refuse["context"] = 1
    for seed in range(3):
        assert_right(engine.run({"x": rows(2, seed)}), rows(2, seed))
    assert cuda.calls["begin_capture"] == 0


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=40), device=st.booleans())
def test_any_sequence_of_batches_is_computed_right_with_few_graphs(tmp_path, sizes, device):
    cuda = FakeCuda()
    trt = FakeTensorRT(cuda)
    path = tmp_path / "net.engine"
    path.write_bytes(trt.plan(profiles=PROFILES))
    engine = TrtEngine(path, api=trt.api, cuda=cuda)
    for seed, size in enumerate(sizes):
        x = rows(size, seed)
        assert_right({k: to_host(v) for k, v in engine.run({"x": on_gpu(x) if device else x}).items()}, x)
        assert len(cuda.graphs) <= 4
    before = (cuda.calls["allocate"], cuda.calls["allocate_host"])
    for size in sizes:
        assert_right(engine.run({"x": rows(size)}), rows(size))
    assert device or (cuda.calls["allocate"], cuda.calls["allocate_host"]) == before
    engine.close()
    gc.collect()
    assert cuda.leftovers == 0


@pytest.mark.slow
@pytest.mark.parametrize("count", [9, 16, 17, 30])
@pytest.mark.parametrize("device", [False, True])
def test_a_batch_over_the_profile_is_computed_in_parts(opened, count, device):
    x = rows(count)
    found = opened().run({"x": on_gpu(x) if device else x})
    assert_right({k: to_host(v) for k, v in found.items()}, x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "parts"), [(9, [5, 4]), (12, [8, 4]), (16, [8, 8]), (17, [6, 6, 5]), (21, [8, 8, 5])]
)
def test_parts_are_full_ones_unless_the_rest_is_under_the_profile(opened, cuda, trt, monkeypatch, count, parts):
    engine = opened(profiles=[[[4, 3], [4, 3], [8, 3]]])
    x = rows(count)
    assert_right(engine.run({"x": x}), x)
    assert [shapes[0][0] for shapes in (chunk.shapes for chunk in engine._planned([rows(count)]))] == parts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("profiles", "shape", "message"),
    [
        ([[[2, 3], [2, 3], [4, 3]]], (1, 3), r"input 'x' must be within \(2, 3\) to \(4, 3\), got \(1, 3\)\. Resize"),
        ([[[4, 3], [4, 3], [4, 3]]], (6, 3), r"must be within \(4, 3\), got \(6, 3\)"),
        (
            [[[1, 3], [1, 3], [1, 3]], [[4, 3], [4, 3], [8, 3]]],
            (0, 3),
            r"\(1, 3\) or \(4, 3\) to \(8, 3\), got \(0, 3\)",
        ),
        ([[[1, 3], [4, 3], [8, 3]]], (0, 3), r"got \(0, 3\)"),
    ],
)
def test_a_shape_outside_every_profile_is_refused_with_the_range(opened, profiles, shape, message):
    engine = opened(profiles=profiles)
    for _ in range(2):
        with pytest.raises(UsageError, match=message):
            engine.run({"x": np.zeros(shape, np.float32)})
        with pytest.raises(UsageError, match=message):
            engine.run({"x": on_gpu(np.zeros(shape, np.float32))})


@pytest.mark.slow
def test_of_several_profiles_the_nearest_that_holds_a_shape_runs_it(opened, cuda):
    engine = opened(profiles=[[[1, 3], [8, 3], [8, 3]], [[1, 3], [1, 3], [2, 3]], [[1, 3], [16, 3], [32, 3]]])
    chosen = [engine._planned([rows(count)])[0].profile for count in (1, 2, 8, 9, 40)]
    assert chosen == [1, 1, 0, 2, 2]
    for count in (1, 2, 8, 9, 40, 1, 40, 8, 1, 40, 8):
        assert_right(engine.run({"x": rows(count)}), rows(count))


@pytest.mark.slow
def test_a_static_engine_takes_its_own_shape(opened):
    engine = opened(shape=[2, 3])
    assert engine.inputs[0].shape == (2, 3)
    for seed in range(4):
        assert_right(engine.run({"x": rows(2, seed)}), rows(2, seed))
    with pytest.raises(UsageError, match=r"input 'x' must be float32 \(2, 3\), got float32 \(3, 3\)"):
        engine.run({"x": rows(3)})


@pytest.mark.slow
def test_open_sizes_run_at_each_size(opened):
    engine = opened(shape=[-1, -1], profiles=[[[1, 2], [1, 4], [4, 9]]])
    assert engine.inputs[0].shape == ("batch", "?")
    for width in (2, 9, 4, 2, 9):
        x = rows(4, width, width)
        assert_right(engine.run({"x": x}), x)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ({}, "input 'x' must be given, got none"),
        ({"image": rows(1)}, "input must be one the engine has, got 'image'"),
        ({"x": rows(1), "mask": rows(1)}, "input must be one the engine has, got 'mask'"),
        ({"x": rows(1, width=4)}, r"input 'x' must be float32 \('batch', 3\), got float32 \(1, 4\)"),
        ({"x": rows(1)[0]}, r"got float32 \(3,\)"),
        ({"x": rows(1).astype(np.float64)}, "got float64"),
        ({"x": rows(1).astype(">f4")}, "got >f4"),
        ({"x": [[1.0, 2.0, 3.0]]}, "input 'x' must be a NumPy array or lie in GPU memory, got list"),
    ],
)
def test_a_feed_that_does_not_fit_is_refused_with_what_was_given(opened, feed, message):
    with pytest.raises(UsageError, match=message):
        opened().run(feed)


@pytest.mark.slow
def test_eight_threads_get_the_answers_that_one_gets(opened, trt):
    engine = opened(contexts=3)
    batches = [rows(1 + seed % 11, seed) for seed in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: engine.run({"x": x}), batches))
    for result, x in zip(found, batches, strict=True):
        assert_right(result, x)


@pytest.mark.slow
def test_threads_with_gpu_arrays_get_theirs_too(opened):
    engine = opened(contexts=3)
    batches = [rows(1 + seed % 11, seed) for seed in range(100)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: engine.run({"x": on_gpu(x)}), batches))
    for result, x in zip(found, batches, strict=True):
        assert_right({name: to_host(value) for name, value in result.items()}, x)


@pytest.mark.slow
def test_aux_streams_are_made_once_per_slot(opened, cuda):
    engine = opened(streams=3)
    for count in (1, 1, 2, 2):
        engine.run({"x": rows(count)})
    assert cuda.calls["stream"] == 4


# --- GPU arrays


class OnGpu:
    """An array of another library, with `__cuda_array_interface__`."""

    def __init__(self, array, **entries):
        self.array = array
        self.entries = entries

    @property
    def __cuda_array_interface__(self):
        a = self.array
        strides = None if a.flags.c_contiguous else a.strides
        return {
            "shape": a.shape, "typestr": a.dtype.str, "data": (a.ctypes.data, False), "strides": strides, "version": 3,
        } | self.entries  # fmt: skip


def on_gpu(array):
    return OnGpu(np.ascontiguousarray(array))


def to_host(value):
    return value if isinstance(value, np.ndarray) else value.numpy()


@pytest.mark.slow
def test_gpu_arrays_go_in_and_out_without_touching_the_host(opened, cuda):
    engine = opened()
    for seed in range(5):
        x = rows(2, seed)
        found = engine.run({"x": on_gpu(x)})
        assert (found["y"].shape, found["y"].dtype, found["y"].device) == ((2, 3), np.float32, 0)
        assert (cuda.calls["copy_in"], cuda.calls["copy_out"], cuda.calls["allocate_host"]) == (0, 0, 0)
        # Done already: whoever reads the memory directly sees the results.
        interface = found["y"].__cuda_array_interface__
        assert (interface["version"], interface["stream"], interface["strides"]) == (3, None, None)
        np.testing.assert_array_equal(OnHost(interface).array, x * 2)
    assert cuda.calls["launch"] == 3


class OnHost:
    def __init__(self, interface):
        entries = {k: interface[k] for k in ("shape", "typestr", "data", "strides")}
        self.array = np.asarray(SimpleNamespace(__array_interface__={**entries, "version": 3}))


@pytest.mark.slow
def test_results_on_the_gpu_keep_their_memory_while_they_are_held(opened, cuda):
    engine = opened()
    held = [engine.run({"x": on_gpu(rows(2, seed))})["y"] for seed in range(6)]
    for seed, found in enumerate(held):
        np.testing.assert_array_equal(found.numpy(), rows(2, seed) * 2)
    engine.close()
    np.testing.assert_array_equal(held[3].numpy(), rows(2, 3) * 2)
    del held, found


@pytest.mark.slow
def test_results_that_are_dropped_lend_their_memory_to_the_next(opened, cuda):
    engine = opened()
    engine.run({"x": on_gpu(rows(2))})
    before = cuda.calls["allocate"]
    for seed in range(9):
        engine.run({"x": on_gpu(rows(2, seed))})
    assert cuda.calls["allocate"] == before
    assert (engine._pool._idle[0].stream, 1) in cuda.waits  # whoever read the last result may still be at it


@pytest.mark.slow
def test_results_feed_the_next_run(opened):
    engine = opened()
    once = engine.run({"x": on_gpu(rows(3))})["y"]
    np.testing.assert_array_equal(engine.run({"x": once})["y"].numpy(), rows(3) * 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entries", "stream"), [({}, 1), ({"stream": None}, 1), ({"stream": 2}, 2), ({"stream": 77}, 77)]
)
def test_the_stream_that_fills_an_input_is_waited_for(opened, cuda, entries, stream):
    engine = opened()
    engine.run({"x": OnGpu(rows(2), **entries)})
    assert cuda.waits == [(engine._pool._idle[0].stream, stream)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (OnGpu(rows(3).T.copy().T), r"input 'x' must be contiguous in GPU memory, got shape \(3, 3\) with strides"),
        (OnGpu(rows(2).astype(np.float64)), "input 'x' must be float32 .*, got float64"),
        (OnGpu(rows(2).astype(">f4")), "got >f4"),
        (OnGpu(rows(2, width=4)), r"got float32 \(2, 4\)"),
    ],
)
def test_a_gpu_array_that_does_not_fit_is_refused_and_the_slot_lives_on(opened, cuda, value, message):
    engine = opened(contexts=1)
    with pytest.raises(UsageError, match=message):
        engine.run({"x": value})
    assert_right(engine.run({"x": rows(2)}), rows(2))
    assert cuda.calls["stream"] == 1


# --- what can go wrong


@pytest.mark.slow
@pytest.mark.parametrize("device", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "cuda0", "cpu:0"])
def test_an_unknown_device_is_refused(opened, device):
    with pytest.raises(UsageError, match=f"device must be cuda, cuda:N or auto for an engine, got '{device}'"):
        opened(device=device)


@pytest.mark.slow
def test_a_gpu_beyond_those_there_are_and_the_cpu_are_refused(opened):
    with pytest.raises(DeviceError, match=r"device 'cuda:3' must be one of the 1 there are.*Use cuda:0"):
        opened(device="cuda:3")
    with pytest.raises(DeviceError, match=r"device 'cpu' cannot run net0\.engine"):
        opened(device="cpu")


def test_without_a_gpu_that_is_what_is_said(tmp_path, trt):
    path = tmp_path / "w18.engine"
    path.write_bytes(trt.plan(profiles=PROFILES))
    with pytest.raises(DeviceError, match=r"^device 'auto' must have an NVIDIA GPU for w18\.engine, got none[^\n]+$"):
        TrtEngine(path, cuda=FakeCuda(devices=0))


@pytest.mark.skipif(CudaPython().device_count() > 0, reason="this machine has a GPU")
def test_without_a_driver_the_real_bindings_say_so_too(tmp_path, trt):
    path = tmp_path / "w18.engine"
    path.write_bytes(trt.plan(profiles=PROFILES))
    with pytest.raises(DeviceError, match=r"device 'auto' must have an NVIDIA GPU for w18\.engine, got none"):
        TrtEngine(path)


def test_a_missing_file_is_missing(tmp_path, cuda, trt):
    with pytest.raises(MissingFileError):
        TrtEngine(tmp_path / "none.engine", cuda=cuda, api=trt.api)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        (
            {"fails": "Error Code 6: version tag"},
            ArtifactError,
            "got: Error Code 6: version tag. Build it again: hrnet-e",
        ),
        (
            {"fails": "CUDA out of memory"},
            DeviceError,
            r"must fit the memory of cuda:0, got CUDA out of memory \(1.0 GiB",
        ),
        ({"fails": "Cuda Runtime (cudaError 35)"}, DeviceError, "must load on cuda:0, got: Cuda Runtime"),
        ({"dtype": "BF16"}, ArtifactError, "tensor 'x' of net0.engine must be of float32, .* got bf16"),
        ({"data_dependent": True}, ArtifactError, r"output 'y' of net0.engine must have a shape that follows"),
        ({"scratch": 5 << 30}, DeviceError, r"allocation of 5.0 GiB must fit the GPU, got cudaErrorMemoryAllocation"),
    ],
)
def test_an_engine_that_does_not_load_says_why_and_leaves_nothing_behind(opened, cuda, facts, error, message):
    with pytest.raises(error, match=message) as caught:
        opened(**facts)
    assert "\n" not in str(caught.value)
    assert cuda.leftovers == 0


@pytest.mark.slow
def test_a_damaged_plan_names_the_way_to_build_it_again(opened, trt):
    with pytest.raises(
        ArtifactError, match=r"net0\.engine must be an engine that TensorRT 10\.9\.0\.34 can load, got: IRun"
    ):
        opened(content=trt.plan(profiles=PROFILES)[:-9])


@pytest.mark.parametrize("call", ["stream", "allocate"])
@pytest.mark.parametrize("after", range(3))
def test_a_failure_half_way_releases_what_was_made(tmp_path, cuda, trt, call, after):
    path = tmp_path / "net.engine"
    path.write_bytes(trt.plan(profiles=PROFILES, streams=2))
    original, count = getattr(cuda, call), iter(range(99))

    def failing(*arguments):
        if next(count) == after:
            raise DeviceError("no more")
        return original(*arguments)

    setattr(cuda, call, failing)
    with pytest.raises(DeviceError, match="no more"):
        TrtEngine(path, api=trt.api, cuda=cuda)
    assert cuda.leftovers == 0


def test_no_memory_for_a_second_slot_means_that_threads_take_turns(tmp_path, caplog):
    cuda = FakeCuda(memory=1500)
    trt = FakeTensorRT(cuda)
    path = tmp_path / "net.engine"
    path.write_bytes(trt.plan(profiles=PROFILES, scratch=1000))
    engine = TrtEngine(path, api=trt.api, cuda=cuda)
    batches = [rows(4, seed) for seed in range(100)]
    with ThreadPoolExecutor(8) as pool:
        for result, x in zip(pool.map(lambda x: engine.run({"x": x}), batches), batches, strict=True):
            assert_right(result, x)
    engine.close()
    assert cuda.leftovers == 0


@pytest.mark.slow
@pytest.mark.parametrize("device", [False, True])
def test_a_run_that_fails_says_so_and_the_next_one_gets_a_fresh_slot(opened, trt, cuda, device):
    engine = opened(contexts=1)
    engine.run({"x": rows(2)})
    trt.refuse["run"] = 1
    with pytest.raises(DeviceError, match=r"net0\.engine must run, got a refusal by TensorRT: .*illegal memory access"):
        engine.run({"x": on_gpu(rows(3)) if device else rows(3)})
    assert_right(engine.run({"x": rows(3)}), rows(3))


@pytest.mark.slow
def test_a_shape_that_tensorrt_refuses_says_so(opened, trt):
    engine = opened()
    trt.refuse["shape"] = 1
    with pytest.raises(DeviceError, match=r"must take input 'x' of shape \(3, 3\), got a refusal by TensorRT"):
        engine.run({"x": rows(3)})


@pytest.mark.slow
def test_closing_twice_is_closing_once_and_running_then_says_so(opened, cuda):
    engine = opened()
    engine.run({"x": rows(2)})
    engine.close()
    freed = cuda.calls["free"]
    engine.close()
    assert cuda.calls["free"] == freed
    with pytest.raises(DeviceError, match=r"net0\.engine must be open to run, got a closed engine"):
        engine.run({"x": rows(2)})


@pytest.mark.slow
def test_an_engine_nobody_holds_is_released(tmp_path, cuda, trt):
    path = tmp_path / "net.engine"
    path.write_bytes(trt.plan(profiles=PROFILES))
    engine = TrtEngine(path, api=trt.api, cuda=cuda)
    engine.run({"x": rows(2)})
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None
    assert cuda.leftovers == 0


@pytest.mark.slow
@pytest.mark.parametrize("contexts", [0, -1])
def test_fewer_than_one_context_is_refused(opened, contexts):
    with pytest.raises(UsageError, match=f"contexts must be at least 1, got {contexts}"):
        opened(contexts=contexts)


# --- card and facts


def facts_of(content, **changes):
    values = {
        "card": CARD, "flavour": "tensorrt", "version": "10.9.0.34", "capabilities": ("sm90",), "gpu": "Fake GPU",
        "plan_sha256": hashlib.sha256(content).hexdigest(), "plan_bytes": len(content), "graph_sha256": "0" * 64,
        "precision": Precision.FP32, "profile": {"x": ((1, 3), (4, 3), (8, 3))},
        "rebuild": "hrnet-export net.onnx -o net.engine",
    }  # fmt: skip
    return EngineSidecar(**values | changes)


def test_the_sidecar_brings_the_card_the_order_and_the_names(tmp_path, cuda, trt):
    path = tmp_path / "net.engine"
    path.write_bytes(trt.plan(profiles=PROFILES))
    write_sidecar(facts_of(path.read_bytes()), sidecar_path(path))
    engine = TrtEngine(path, api=trt.api, cuda=cuda)
    assert engine.metadata == card_metadata(CARD)
    assert (engine.inputs, engine.outputs) == (CARD.inputs, CARD.outputs)
    assert list(engine.run({"x": rows(2)})) == ["z", "y"]
    assert_right(engine.run({"x": rows(2)}), rows(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "10.4.0.26"}, "must be built by the tensorrt that runs it"),
        ({"flavour": "tensorrt-rtx"}, "must be built by tensorrt, got one by tensorrt-rtx"),
        ({"capabilities": ("sm75",)}, r"must be built for this GPU \(sm90\), got sm75"),
        ({"plan_sha256": "1" * 64}, "must have SHA-256"),
    ],
)
def test_facts_that_do_not_fit_stop_the_load_before_tensorrt_sees_it(tmp_path, cuda, trt, changes, message):
    path = tmp_path / "net.engine"
    path.write_bytes(trt.plan(profiles=PROFILES, fails="TensorRT saw it"))
    write_sidecar(facts_of(path.read_bytes(), **changes), sidecar_path(path))
    with pytest.raises(ArtifactError, match=f"{message}.*Build it again: hrnet-export net.onnx -o net.engine"):
        TrtEngine(path, api=trt.api, cuda=cuda)


@pytest.mark.slow
def test_without_a_sidecar_the_card_in_the_networks_name_counts(opened):
    assert opened(name=card_metadata(CARD)[CARD_KEY]).metadata == card_metadata(CARD)
    assert opened(name="{not a card").metadata == {}


@pytest.mark.slow
def test_an_ultralytics_header_becomes_a_card(opened, trt):
    header = json.dumps({"task": "classify", "names": {"0": "cat", "1": "dog"}, "imgsz": [8, 8]}).encode()
    shapes = [[1, 3, 8, 8], [2, 3, 8, 8], [4, 3, 8, 8]]
    plan = trt.plan(shape=[-1, 3, 8, 8], profiles=[shapes])
    engine = opened(content=len(header).to_bytes(4, "little") + header + plan)
    assert json.loads(engine.metadata[CARD_KEY])["classes"] == ["cat", "dog"]
    assert engine.metadata["task"] == "classify"
    assert engine.inputs[0].shape == ("batch", 3, 8, 8)


@pytest.mark.slow
def test_a_plan_of_another_version_without_a_sidecar_is_refused(opened, trt, rtx):
    with pytest.raises(ArtifactError, match="must be built by the TensorRT that runs it"):
        opened(trt=rtx, content=trt.plan(profiles=PROFILES))


# --- TensorRT-RTX


@pytest.mark.slow
@pytest.mark.parametrize("graphs", [True, False])
def test_rtx_records_by_itself_and_keeps_its_kernels(opened, rtx, cuda, tmp_path, monkeypatch, graphs):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))
    engine = opened(trt=rtx, cuda_graphs=graphs)
    for seed in range(3):
        assert_right(engine.run({"x": rows(2, seed)}), rows(2, seed))
    assert cuda.calls["begin_capture"] == 0
    config = engine._contexts.config
    assert config.cuda_graph_strategy.name == ("WHOLE_GRAPH_CAPTURE" if graphs else "DISABLED")
    assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
    (kept,) = (tmp_path / "cache" / "runtime").iterdir()
    assert kept.read_bytes() == b"kernels"
    again = opened(trt=rtx, content=(tmp_path / "net0.engine").read_bytes())
    assert rtx.runtime_caches[-1].content == b"kernels"
    kept.write_bytes(b"of another GPU")
    third = opened(trt=rtx, content=(tmp_path / "net0.engine").read_bytes())
    assert rtx.runtime_caches[-1].content == b""
    third.run({"x": rows(2)})
    assert kept.read_bytes() == b"kernels"
    again.close()


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_stops_nothing(opened, rtx, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "file"))
    assert_right(opened(trt=rtx).run({"x": rows(2)}), rows(2))
