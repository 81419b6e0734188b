import os
import types

import numpy as np
import onnx
import onnxruntime
import pytest

from hrnet_deploy.engines.ort import OrtEngine
from hrnet_deploy.engines.ort_gpu import check_placement, nodes_on
from hrnet_deploy.engines.ort_opening import open_onnx
from hrnet_deploy.engines.ort_providers import CPU, CUDA, TENSORRT, CudaTuning
from hrnet_deploy.engines.ort_session import open_session, session_options
from hrnet_deploy.errors import ArtifactError, DeviceError, UsageError

HAS_CUDA_BUILD = CUDA in onnxruntime.get_available_providers()
NET = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\n'
    "g (float[1, 1, 4, 4] x) => (float[A, B, C, D] y) <float[1, 1, 1, 1] w = {2.0}> { c = Conv(x, w) y = Sigmoid(c) }"
).SerializeToString()
INT8 = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\n'
    "g (float[N] x) => (float[N] y) <float s = {0.1}, int8 z = {0}>"
    "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
).SerializeToString()


def session(provider, strays=()):
    nodes = [types.SimpleNamespace(op_type=kind) for kind in strays]
    part = types.SimpleNamespace(ep_name=CPU, get_nodes=lambda: nodes)
    return types.SimpleNamespace(
        get_providers=lambda: [provider, CPU], get_provider_graph_assignment_info=lambda: [part]
    )


@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_a_session_on_the_gpu_may_leave_shape_arithmetic_to_the_cpu(provider):
    check_placement(session(provider, ["Shape", "Gather", "Concat"]), "cuda:1", provider)


def test_a_session_that_came_up_elsewhere_is_refused():
    with pytest.raises(DeviceError, match=r"^device 'cuda:1' must run on the GPU, got CPUExecutionProvider: the CUDA"):
        check_placement(session(CPU), "cuda:1", CUDA)


def test_convolutions_on_the_cpu_are_refused_by_name():
    with pytest.raises(DeviceError, match="must run every convolution, got Conv, Gemm on the CPU"):
        check_placement(session(CUDA, ["Shape", "Gemm", "Conv"]), "cuda", CUDA)


def test_onnx_runtime_tells_where_its_nodes_are():
    options = session_options(entries={"session.record_ep_graph_assignment_info": "1"})
    opened = open_session(NET, "graph", options, [CPU])
    if not hasattr(opened, "get_provider_graph_assignment_info"):
        pytest.skip("this ONNX Runtime does not tell")
    assert "Conv" in {kind.removeprefix("Fused") for kind in nodes_on(opened, CPU)}
    assert nodes_on(opened, CUDA) == frozenset()


def test_without_the_record_nothing_is_claimed():
    assert nodes_on(open_session(NET, "graph", session_options(), [CPU]), CPU) == frozenset()
    assert nodes_on(types.SimpleNamespace(), CPU) == frozenset()


@pytest.mark.parametrize("quiet", [False, True])
def test_opening_writes_nothing_to_the_terminal(capfd, quiet):
    with pytest.raises(ArtifactError, match=r"^bad must be a model ONNX Runtime can open"):
        open_session(b"\0" * 64, "bad", session_options(quiet=quiet), [CPU])
    out, err = capfd.readouterr()
    assert out == ""
    assert not quiet or err == ""


def test_what_tensorrt_s_provider_keeps_is_bounded_like_all_else(tmp_path, monkeypatch):
    """The oldest engines go when another is opened, as no GPU is needed to see."""
    from hrnet_deploy.engines import ort_cache, ort_gpu

    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path))
    monkeypatch.setattr(ort_cache, "_MOST_BYTES", 2500)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(ort_gpu, "open_session", lambda *_: session(TENSORRT))
    for age, name in enumerate(("onnxruntime-trt-new", "onnxruntime-trt-old")):
        folder = tmp_path / "compiled" / name
        folder.mkdir(parents=True)
        (folder / "built.engine").write_bytes(bytes(2000))
        os.utime(folder, (1e9 - age, 1e9 - age))
    ort_gpu.open_on_gpu(NET, "graph", device="cuda", provider=TENSORRT, tuning=CudaTuning(), threads=None)
    left = {path.name for path in (tmp_path / "compiled").iterdir()}
    assert "onnxruntime-trt-new" in left
    assert "onnxruntime-trt-old" not in left
    assert len(left) == 2


def test_tensorrt_s_provider_needs_a_gpu():
    with pytest.raises(UsageError, match="backend 'onnxruntime-trt' must run on a GPU, got device 'cpu'"):
        OrtEngine(NET, device="cpu", backend="onnxruntime-trt")


@pytest.mark.skipif(TENSORRT in onnxruntime.get_available_providers(), reason="this ONNX Runtime has TensorRT")
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:2"])
def test_tensorrt_s_provider_asked_of_a_cpu_build_names_the_pip_line(device):
    with pytest.raises(DeviceError, match=r"needs ONNX Runtime with TensorRT, .* pip install 'hrnet-deploy\[gpu\]'"):
        open_onnx(NET, device=device, backend="onnxruntime-trt", threads=None, lanes=1, in_order=False)


def test_an_unknown_backend_is_refused():
    with pytest.raises(UsageError, match="backend must be one of auto, onnxruntime, onnxruntime-trt, got 'trt'"):
        OrtEngine(NET, backend="trt")


def test_a_gpu_array_needs_an_engine_on_a_gpu():
    there = types.SimpleNamespace(__cuda_array_interface__={})
    with pytest.raises(UsageError, match="input 'x' must be a NumPy array for an engine on cpu, got SimpleNamespace"):
        OrtEngine(NET, device="cpu").run({"x": there})


needs_gpu = pytest.mark.skipif(not HAS_CUDA_BUILD, reason="needs an NVIDIA GPU and hrnet-deploy[gpu]")


def on_gpu(model, **options):
    try:
        return OrtEngine(model, device="cuda", **options)
    except DeviceError as error:
        pytest.skip(f"needs an NVIDIA GPU: {error}")


@pytest.mark.gpu
@needs_gpu
def test_int8_on_the_cuda_provider_is_refused_before_anything_is_loaded():
    with pytest.raises(DeviceError, match="no INT8 convolutions"):
        OrtEngine(INT8, device="cuda")


@pytest.mark.gpu
@needs_gpu
def test_a_net_on_the_gpu_replays_a_graph_a_shape_and_answers_as_on_the_cpu(photos_onnx):
    engine, plain = on_gpu(photos_onnx), OrtEngine(photos_onnx, device="cpu")
    for seed, count in enumerate([1, 4, 1, 4, 2]):
        x = np.random.default_rng(seed).normal(size=(count, 3, 64, 64)).astype(np.float32)
        found, wanted = engine.run({"input": x})["logits"], plain.run({"input": x})["logits"]
        np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())
    assert [buffers.has_graph for buffers in engine._bound._kept.values()] == [True] * 3


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    ("tuning", "tolerance"),
    [
        (CudaTuning(cuda_graph=False), 1e-3),
        (CudaTuning(prefer_nhwc=True), 1e-3),
        (CudaTuning(tf32=True), 2e-2),
        (CudaTuning(memory_limit_bytes=2 << 30), 1e-3),
    ],
)
def test_tuning_changes_the_speed_and_not_the_answers(photos_onnx, tuning, tolerance):
    engine, plain = on_gpu(photos_onnx, tuning=tuning), OrtEngine(photos_onnx, device="cpu")
    x = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    wanted = plain.run({"input": x})["logits"]
    np.testing.assert_allclose(engine.run({"input": x})["logits"], wanted, atol=tolerance * np.abs(wanted).max())


@pytest.mark.gpu
@needs_gpu
def test_open_sizes_run_on_the_gpu(street_onnx):
    engine, plain = on_gpu(street_onnx), OrtEngine(street_onnx, device="cpu")
    for hw in [(64, 96), (96, 64), (64, 96)]:
        x = np.random.default_rng(0).normal(size=(1, 3, *hw)).astype(np.float32)
        found, wanted = engine.run({"input": x})["logits"], plain.run({"input": x})["logits"]
        np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.gpu
@needs_gpu
def test_a_torch_tensor_on_the_gpu_goes_in_and_comes_out_there(photos_onnx):
    torch = pytest.importorskip("torch")
    pytest.importorskip("cuda.bindings")
    engine, plain = on_gpu(photos_onnx), OrtEngine(photos_onnx, device="cpu")
    if not torch.cuda.is_available():
        pytest.skip("needs torch with CUDA")
    with torch.cuda.stream(torch.cuda.Stream()):
        x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).cuda(non_blocking=True) * 2
        found = torch.as_tensor(engine.run({"input": x})["logits"], device="cuda")
    wanted = plain.run({"input": x.cpu().numpy()})["logits"]
    np.testing.assert_allclose(found.cpu().numpy(), wanted, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.gpu
@pytest.mark.skipif(TENSORRT not in onnxruntime.get_available_providers(), reason="needs ONNX Runtime with TensorRT")
def test_tensorrt_s_provider_answers_as_the_cpu(photos_onnx):
    try:
        engine = OrtEngine(photos_onnx, backend="onnxruntime-trt")
    except DeviceError as error:
        pytest.skip(f"needs an NVIDIA GPU and TensorRT 10: {error}")
    x = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    wanted = OrtEngine(photos_onnx, device="cpu").run({"input": x})["logits"]
    # TensorRT computes FP32 in TF32 where the card has it.
    np.testing.assert_allclose(engine.run({"input": x})["logits"], wanted, atol=2e-2 * np.abs(wanted).max())
