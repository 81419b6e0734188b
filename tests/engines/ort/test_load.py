import subprocess
import sys

import numpy as np
import onnx
import pytest

from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.engines.ort import load
from hrnet_deploy.errors import DeviceError, MissingDependencyError

FLOAT = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\ng (float[N, 3, 128, 128] x) => (float[N, 3, 128, 128] y) { y = Relu(x) }'
)
INT8 = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\n'
    "g (float[N, 3, 128, 128] x) => (float[N, 3, 128, 128] y) <float s = {0.1}, int8 z = {0}>"
    "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
)


class Stub:
    """Stands for OpenVINO, so that the choice is tested where it is not installed."""

    backend, device = "openvino", "cpu"

    def __init__(self, model, *, device, threads, streams, header):
        self.streams = streams


@pytest.fixture(params=[FLOAT, INT8], ids=["fp32", "int8"])
def artefact(request, tmp_path, monkeypatch):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "net.onnx"
    path.write_bytes(request.param.SerializeToString())
    return path


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr("hrnet_deploy.engines.ort.load.is_installed", lambda: True)
    monkeypatch.setattr("hrnet_deploy.engines.openvino.engine.OpenVinoEngine", Stub)
    monkeypatch.setattr(load, "_is_gpu_build", lambda: False)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("options", "backend"),
    [
        ({}, "openvino"),
        ({"device": "cpu"}, "openvino"),
        ({"backend": "openvino"}, "openvino"),
        ({"backend": "onnxruntime", "device": "cpu"}, "onnxruntime"),
        ({"in_order": True, "device": "cpu"}, "onnxruntime"),
    ],
)
def test_auto_is_openvino_where_it_is_installed(artefact, options, backend):
    assert open_engine(artefact, **options).backend == backend


@pytest.mark.usefixtures("installed")
def test_bytes_are_graphs_in_the_making_and_stay_on_the_engine_that_starts_at_once():
    assert open_engine(INT8.SerializeToString(), device="cpu").backend == "onnxruntime"


def test_auto_is_onnx_runtime_where_openvino_is_not_installed(artefact, monkeypatch):
    monkeypatch.setattr("hrnet_deploy.engines.ort.load.is_installed", lambda: False)
    assert open_engine(artefact, device="cpu").backend == "onnxruntime"


@pytest.mark.usefixtures("installed")
def test_a_gpu_build_tries_its_gpu_first_with_what_that_can_run(artefact, monkeypatch, caplog):
    monkeypatch.setattr(load, "_is_gpu_build", lambda: True)
    tried = []

    def on_gpu(model, *, device, **_):
        tried.append(device)
        raise DeviceError("device 'cuda' must be there, got none.")

    monkeypatch.setattr("hrnet_deploy.engines.ort.engine.OrtEngine", on_gpu)
    int8 = artefact.read_bytes() == INT8.SerializeToString()
    assert open_engine(artefact).backend == "openvino"
    assert tried == ([] if int8 else ["cuda"])
    assert ("running on the CPU: device 'cuda'" in caplog.text) is not int8
    assert open_engine(artefact, device="cpu").backend == "openvino"


@pytest.mark.usefixtures("installed")
def test_an_openvino_that_does_not_load_is_reported_and_done_without_unless_named(artefact, monkeypatch, caplog):
    def broken(*_, **__):
        raise DeviceError("OpenVINO must offer the CPU, got none.")

    monkeypatch.setattr("hrnet_deploy.engines.openvino.engine.OpenVinoEngine", broken)
    assert open_engine(artefact, device="cpu").backend == "onnxruntime"
    assert "running without OpenVINO: OpenVINO must offer the CPU" in caplog.text
    with pytest.raises(DeviceError):
        open_engine(artefact, device="cpu", backend="openvino")


@pytest.mark.slow
def test_openvino_serves_a_machine_without_onnx_runtime(artefact):
    script = (
        "import sys; sys.modules['onnxruntime'] = None; from pathlib import Path; import numpy as np;"
        "from hrnet_deploy.engines.load import open_engine;"
        "engine = open_engine(Path(sys.argv[1]));"
        "print(engine.backend, engine.run({'x': np.ones((2, 3, 128, 128), np.float32)})['y'].shape)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(artefact)], capture_output=True, text=True, check=False)
    if "MissingDependencyError" in done.stderr:
        pytest.skip("OpenVINO offers no CPU here")
    assert done.stdout == "openvino (2, 3, 128, 128)\n"


def test_without_any_runtime_the_error_names_both(artefact, monkeypatch):
    monkeypatch.setattr("hrnet_deploy.engines.ort.load.is_installed", lambda: False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "hrnet_deploy.engines.ort.engine", raising=False)
    with pytest.raises(MissingDependencyError, match=r"needs ONNX Runtime or OpenVINO, got: .*\[openvino\]"):
        open_engine(artefact)


def test_both_runtimes_answer_alike(artefact):
    feed = {"x": np.random.default_rng(0).normal(size=(2, 3, 128, 128)).astype(np.float32)}
    plain, best = (open_engine(artefact, device="cpu", backend=backend) for backend in ("onnxruntime", "auto"))
    np.testing.assert_allclose(best.run(feed)["y"], plain.run(feed)["y"], atol=1e-6)
