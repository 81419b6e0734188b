import types

import onnx
import onnxruntime
import pytest

from hrnet_deploy.engines.ort import OrtEngine
from hrnet_deploy.engines.ort_gpu import check_placement, nodes_on
from hrnet_deploy.engines.ort_opening import open_onnx
from hrnet_deploy.engines.ort_providers import CPU, CUDA, TENSORRT
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


def test_tensorrt_s_provider_needs_a_gpu():
    with pytest.raises(UsageError, match="backend 'onnxruntime-trt' must run on a GPU, got device 'cpu'"):
        OrtEngine(NET, device="cpu", backend="onnxruntime-trt")


@pytest.mark.skipif(TENSORRT in onnxruntime.get_available_providers(), reason="this ONNX Runtime has TensorRT")
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:2"])
def test_tensorrt_s_provider_asked_of_a_cpu_build_names_the_pip_line(device):
    with pytest.raises(DeviceError, match=r"needs ONNX Runtime with TensorRT, .* pip install 'hrnet-deploy\[gpu\]'"):
        open_onnx(NET, device=device, backend="onnxruntime-trt", threads=None, in_order=False)


def test_an_unknown_backend_is_refused():
    with pytest.raises(UsageError, match="backend must be one of auto, onnxruntime, onnxruntime-trt, got 'trt'"):
        OrtEngine(NET, backend="trt")


def test_a_gpu_array_needs_an_engine_on_a_gpu():
    there = types.SimpleNamespace(__cuda_array_interface__={})
    with pytest.raises(UsageError, match="input 'x' must be a NumPy array for an engine on cpu, got SimpleNamespace"):
        OrtEngine(NET, device="cpu").run({"x": there})


@pytest.mark.gpu
@pytest.mark.skipif(
    not HAS_CUDA_BUILD, reason="needs an NVIDIA GPU and hrnet-deploy[gpu]; run: python -m pytest -m gpu"
)
def test_int8_on_the_cuda_provider_is_refused_before_anything_is_loaded():
    with pytest.raises(DeviceError, match="no INT8 convolutions"):
        OrtEngine(INT8, device="cuda")
