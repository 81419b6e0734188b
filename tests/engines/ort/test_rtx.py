"""NVIDIA's TensorRT-RTX plugin for ONNX Runtime: its options, its refusals, and its way through a stand-in of a GPU."""

import dataclasses
import importlib.util
import re
import sys
import types

import numpy as np
import onnx
import onnxruntime
import pytest

from hrnet_deploy import Predictor
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.engines.ort import rtx
from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.engines.ort.rtx import RtxPluginEngine, gpu_device, plugin_options
from hrnet_deploy.errors import DeviceError, MissingDependencyError, MissingFileError, UsageError
from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, ShapeRange, Task, TensorSpec

NET = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\n'
    "g (float[N, 1, 4, 4] input) => (float[N, C, H, W] y) <float[1, 1, 1, 1] w = {2.0}> { y = Conv(input, w) }"
).SerializeToString()
CARD = ModelCard(
    task=Task.CLASSIFICATION,
    variant="hrnet_w18",
    classes=("a", "b"),
    preprocessing=Preprocessing(),
    precision=Precision.FP16,
    inputs=(TensorSpec("input", "float32", ("N", 3, 224, 224)),),
    outputs=(TensorSpec("logits", "float32", ("N", 2)),),
    shapes=ShapeRange((1, 224, 224), (8, 224, 224), (16, 224, 224)),
)


@pytest.fixture
def plugin(monkeypatch):
    """A plugin whose one device is ONNX Runtime's own CPU; the list holds what was registered."""
    registered = []
    module = types.SimpleNamespace(get_library_path=lambda: "/plugin.so")
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", module)
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == "CPUExecutionProvider"]
    monkeypatch.setattr(rtx, "_PROVIDER", "CPUExecutionProvider")
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: devices if registered else [])
    register = lambda name, path: registered.append((name, path))  # noqa: E731
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", register)
    monkeypatch.setattr(rtx, "_folder", lambda model: None)
    # The nodes are on the CPU here, which is what a real GPU must not say.
    monkeypatch.setattr(rtx, "nodes_on", lambda session, provider: frozenset())
    return registered


@pytest.mark.slow
def test_a_graph_runs_whole_on_the_plugin(plugin, photos_onnx):
    with Predictor(photos_onnx, backend="onnxruntime-rtx") as ours, Predictor(photos_onnx, device="cpu") as plain:
        assert (ours.backend, ours.device, ours.streams) == ("onnxruntime-rtx", "cuda:0", 1)
        for count in (1, 3):
            x = np.random.default_rng(count).normal(size=(count, 3, 64, 64)).astype(np.float32)
            found, wanted = (predictor.infer(x)["logits"] for predictor in (ours, plain))
            np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert plugin == [("CPUExecutionProvider", "/plugin.so")]


def test_a_range_of_shapes_is_compiled_for_and_fixed_ones_are_captured(tmp_path):
    assert plugin_options(CARD, cache=tmp_path) == {
        "nv_profile_min_shapes": "input:1x3x224x224",
        "nv_profile_opt_shapes": "input:8x3x224x224",
        "nv_profile_max_shapes": "input:16x3x224x224",
        "nv_runtime_cache_path": str(tmp_path),
    }
    fixed = dataclasses.replace(CARD, shapes=ShapeRange(*[(1, 224, 224)] * 3))
    assert plugin_options(fixed, cache=None) == {"enable_cuda_graph": "1"}
    # Without a card nothing says that shapes stay.
    assert plugin_options(None, cache=None) == {}


def test_what_is_not_asked_for_in_a_way_it_can_serve_is_refused(plugin, tmp_path):
    with pytest.raises(UsageError, match="backend 'onnxruntime-rtx' must run on a GPU, got device 'cpu'"):
        open_engine(NET, backend="onnxruntime-rtx", device="cpu")
    with pytest.raises(UsageError, match="threads must be 1 to 1024, got 0"):
        RtxPluginEngine(NET, threads=0)
    with pytest.raises(MissingFileError, match="artifact must exist"):
        RtxPluginEngine(tmp_path / "no.onnx")
    with pytest.raises(DeviceError, match=r"device 'cuda:7' must be one that TensorRT-RTX lists .*, got 1 of them"):
        RtxPluginEngine(NET, device="cuda:7")
    engine = RtxPluginEngine(NET)
    with pytest.raises(UsageError, match="input 'input' must be a NumPy array for backend 'onnxruntime-rtx'"):
        engine.run({"input": types.SimpleNamespace(__cuda_array_interface__={})})
    with pytest.raises(UsageError, match="got float64"):
        engine.run({"input": np.zeros((1, 1, 4, 4))})
    engine.close()
    with pytest.raises(DeviceError, match="graph must run on cuda:0"):
        engine.run({"input": np.zeros((1, 1, 4, 4), np.float32)})


@pytest.mark.parametrize(
    ("capability", "message"),
    [
        (
            (7, 5),
            r"^ONNX Runtime RTX cannot usefully run fp32 on .*: the plugin needs Ampere or later\. Use TensorRT-RTX\.$",
        ),
        ((9, 0), r"^ONNX Runtime RTX cannot usefully run fp32 on .*: sm90 is not on its list\. Use TensorRT\.$"),
    ],
)
def test_a_gpu_that_the_table_refuses_is_refused_before_the_plugin_loads(plugin, driver, capability, message):
    driver(*capability)
    with pytest.raises(DeviceError, match=message):
        open_engine(NET, backend="onnxruntime-rtx")
    assert plugin == []


@pytest.mark.parametrize("capability", [(8, 0), (19, 0)])
def test_a_gpu_that_the_table_lists_or_does_not_know_is_tried(plugin, driver, capability):
    driver(*capability)
    assert RtxPluginEngine(NET).device == "cuda:0"
    assert len(plugin) == 1


def test_convolutions_left_to_the_cpu_are_refused(plugin, monkeypatch):
    attempts = []

    def fails_first(model, name, options, providers):
        attempts.append(options.get_session_config_entry("session.record_ep_graph_assignment_info"))
        if len(attempts) == 1:
            raise rtx.ArtifactError("nodes on the CPU")

    monkeypatch.setattr(rtx, "open_session", fails_first)
    monkeypatch.setattr(rtx, "nodes_on", lambda session, provider: frozenset({"Shape", "Conv"}))
    with pytest.raises(DeviceError, match="cuda:0 must run every convolution, got Conv on the CPU"):
        RtxPluginEngine(NET)
    assert attempts == ["1", "1"]


def test_a_missing_plugin_names_its_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'hrnet-deploy\[onnxruntime-rtx\]'$"):
        open_engine(NET, backend="onnxruntime-rtx")


def test_a_plugin_that_does_not_load_says_why_in_the_systems_words(plugin, monkeypatch):
    def fail(name, path):
        # As onnxruntime 1.31.1 says it on a machine without a driver.
        raise RuntimeError(
            "[ONNXRuntimeError] : 1 : FAIL : Failed to load library /site-packages/x.so with error: libcuda.so.1: "
            "cannot open shared object file: No such file or directory"
        )

    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", fail)
    with pytest.raises(DeviceError, match=r"plugin must load, got: libcuda\.so\.1: cannot open .* Check nvidia-smi"):
        gpu_device(0)


@pytest.mark.gpu
def test_on_a_gpu_the_plugin_answers_as_the_cpu(photos_onnx):
    if importlib.util.find_spec("onnxruntime_ep_nv_tensorrt_rtx") is None:
        pytest.skip("not installed: onnxruntime-ep-nv-tensorrt-rtx")
    try:
        engine = RtxPluginEngine(photos_onnx)
    except DeviceError as error:
        refused = re.search("must be one that TensorRT-RTX lists|cannot usefully run", str(error))
        pytest.skip(f"{'the table refuses this card' if refused else 'needs an NVIDIA GPU'}: {error}")
    plain = OrtEngine(photos_onnx, device="cpu")
    for seed, count in enumerate((1, 4, 1, 8)):
        x = np.random.default_rng(seed).normal(size=(count, 3, 64, 64)).astype(np.float32)
        found, wanted = engine.run({"input": x})["logits"], plain.run({"input": x})["logits"]
        np.testing.assert_allclose(found, wanted, atol=2e-2 * np.abs(wanted).max())
