import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest

from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingFileError, UsageError
from hrnet_deploy.spec import TensorSpec

HAS_CUDA_BUILD = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def graph(text, **metadata):
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    onnx.helper.set_model_props(model, metadata)
    return model.SerializeToString()


NET = graph(
    "g (float[N, 3, ?, 8] input) => (float[N, 3, A, B] y, int64[N] z) {"
    "y = GlobalAveragePool(input) f = Flatten(y) z = ArgMax<axis = 1, keepdims = 0>(f) }",
    **{"hrnet_deploy.card": "{}", "note": "ü"},
)


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def gpu_is_there():
    if not HAS_CUDA_BUILD:
        return False
    try:
        return OrtEngine(NET, device="cuda").device == "cuda:0"
    except DeviceError:
        return False


@pytest.fixture
def engine():
    return OrtEngine(NET, device="cpu", threads=1)


def test_an_engine_tells_what_the_graph_takes_gives_and_carries(engine):
    assert engine.inputs == (TensorSpec("input", "float32", ("N", 3, "?", 8)),)
    assert engine.outputs == (TensorSpec("y", "float32", ("N", 3, 1, 1)), TensorSpec("z", "int64", ("N",)))
    assert engine.metadata == {"hrnet_deploy.card": "{}", "note": "ü"}
    assert (engine.backend, engine.device) == ("onnxruntime", "cpu")


@pytest.mark.parametrize("shape", [(1, 3, 4, 8), (5, 3, 1, 8)])
def test_every_output_comes_back_by_name(engine, shape):
    found = engine.run({"input": images(*shape)})
    wanted = images(*shape).mean(axis=(2, 3))
    np.testing.assert_allclose(found["y"][..., 0, 0], wanted, atol=1e-6)
    np.testing.assert_array_equal(found["z"], wanted.argmax(axis=1))


def test_arrays_need_not_be_contiguous_and_stay_as_they_are(engine):
    strided = images(2, 4, 8, 3).transpose(0, 3, 1, 2)
    before = strided.copy()
    np.testing.assert_allclose(engine.run({"input": strided})["y"][..., 0, 0], before.mean(axis=(2, 3)), atol=1e-6)
    np.testing.assert_array_equal(strided, before)


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ({}, "input 'input' must be given, got none"),
        ({"image": images(1, 3, 4, 8)}, "input 'input' must be given, got none"),
        ({"input": images(1, 3, 4, 8), "mask": images(1)}, "input must be one the graph has, got 'mask'"),
        ({"input": images(1, 4, 4, 8)}, r"must be float32 \('N', 3, '\?', 8\), got float32 \(1, 4, 4, 8\)"),
        ({"input": images(1, 3, 4, 9)}, r"got float32 \(1, 3, 4, 9\)"),
        ({"input": images(3, 4, 8)}, r"got float32 \(3, 4, 8\)"),
        ({"input": images(1, 3, 4, 8).astype(np.float64)}, r"must be float32 .*, got float64"),
        ({"input": np.zeros((1, 3, 4, 8), np.uint8)}, r"must be float32 .*, got uint8"),
        ({"input": images(1, 3, 4, 8).astype(">f4" if sys.byteorder == "little" else "<f4")}, r"got [<>]f4"),
    ],
)
def test_a_feed_that_does_not_fit_is_refused_with_what_was_given(engine, feed, message):
    with pytest.raises(UsageError, match=message):
        engine.run(feed)


def test_a_failure_inside_the_runtime_says_where_it_ran():
    engine = OrtEngine(graph("g (float[N] x, float[M] w) => (float[A] y) { y = Add(x, w) }"), device="cpu")
    with pytest.raises(DeviceError, match="graph must run on cpu, got: "):
        engine.run({"x": images(2), "w": images(3)})


def test_eight_threads_get_the_answers_that_one_gets(engine):
    feeds = [{"input": images(4, 3, 16, 8, seed=seed)} for seed in range(64)]
    wanted = [engine.run(feed)["y"] for feed in feeds]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda feed: engine.run(feed)["y"], feeds))
    for ours, reference in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, reference)


def test_a_file_opens_and_its_name_is_in_its_errors(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(NET)
    assert OrtEngine(path, device="cpu").inputs[0].name == "input"
    path.write_bytes(NET[: len(NET) // 2])
    with pytest.raises(ArtifactError, match=r"^net\.onnx must be a model ONNX Runtime can open, got: [^\n]+$"):
        OrtEngine(path, device="cpu")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\0" * 100])
def test_bytes_that_are_no_graph_are_refused(content):
    with pytest.raises(ArtifactError, match="graph must be a model ONNX Runtime can open"):
        OrtEngine(content, device="cpu")


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_what_is_no_file_is_missing(tmp_path, name):
    with pytest.raises(MissingFileError, match="artifact must exist"):
        OrtEngine(tmp_path / name, device="cpu")


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_than_one_thread_is_refused(threads):
    with pytest.raises(UsageError, match=f"threads must be 1 to 1024, got {threads}"):
        OrtEngine(NET, device="cpu", threads=threads)


@pytest.mark.parametrize("device", ["", "gpu", "CPU", "cuda:x", "cuda:-1", "cuda:²", "cuda0", "cpu:0", "mps"])
def test_an_unknown_device_is_refused_with_those_there_are(device):
    with pytest.raises(UsageError, match=f"device must be cpu, cuda, cuda:N or auto, got '{device}'"):
        OrtEngine(NET, device=device)


@pytest.mark.skipif(HAS_CUDA_BUILD, reason="this ONNX Runtime has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_asked_of_a_cpu_build_names_the_pip_line_and_never_falls_back(device):
    with pytest.raises(DeviceError, match=rf"device '{device}' needs .* pip install 'hrnet-deploy\[gpu\]'"):
        OrtEngine(NET, device=device)


@pytest.mark.skipif(HAS_CUDA_BUILD, reason="this ONNX Runtime has CUDA")
def test_auto_is_the_cpu_where_the_build_knows_no_gpu():
    assert OrtEngine(NET, device="auto").device == "cpu"


@pytest.mark.gpu
def test_on_a_gpu_the_answers_are_those_of_the_cpu(engine):
    if not gpu_is_there():
        pytest.skip("needs an NVIDIA GPU and hrnet-deploy[gpu]; there, run: python -m pytest -m gpu tests/engines")
    feed = {"input": images(2, 3, 16, 8)}
    for device in ("auto", "cuda", "cuda:0"):
        on_gpu = OrtEngine(NET, device=device)
        assert on_gpu.device == "cuda:0"
        np.testing.assert_allclose(on_gpu.run(feed)["y"], engine.run(feed)["y"], atol=1e-5)
