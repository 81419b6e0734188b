import onnx
import pytest

from hrnet_deploy.engines import ort_opening
from hrnet_deploy.engines.opening import open_engine
from hrnet_deploy.errors import DeviceError

INT8 = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\n'
    "g (float[N, 3, 128, 128] x) => (float[N, 3, 128, 128] y) <float s = {0.1}, int8 z = {0}>"
    "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
)


class Stub:
    """Stands for OpenVINO, so that the choice is tested where it is not installed."""

    backend, device = "openvino", "cpu"

    def __init__(self, model, *, device, threads, lanes):
        self.lanes = lanes


@pytest.fixture
def artefact(tmp_path, monkeypatch):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "net.onnx"
    path.write_bytes(INT8.SerializeToString())
    return path


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr("hrnet_deploy.engines.ort_openvino._installed", lambda: True)
    monkeypatch.setattr(ort_opening, "OpenVinoEngine", Stub)


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
def test_auto_is_openvino_for_int8_where_it_is_installed(artefact, options, backend):
    assert open_engine(artefact, **options).backend == backend


@pytest.mark.usefixtures("installed")
def test_bytes_are_graphs_in_the_making_and_stay_on_the_engine_that_starts_at_once():
    assert open_engine(INT8.SerializeToString(), device="cpu").backend == "onnxruntime"


def test_auto_is_onnx_runtime_where_the_plugin_is_not_installed(artefact, monkeypatch):
    monkeypatch.setattr("hrnet_deploy.engines.ort_openvino._installed", lambda: False)
    assert open_engine(artefact, device="cpu").backend == "onnxruntime"


@pytest.mark.usefixtures("installed")
def test_a_plugin_that_does_not_load_is_reported_and_done_without_unless_named(artefact, monkeypatch, caplog):
    def broken(*_, **__):
        raise DeviceError("OpenVINO's plugin must load, got: no.")

    monkeypatch.setattr(ort_opening, "OpenVinoEngine", broken)
    assert open_engine(artefact, device="cpu").backend == "onnxruntime"
    assert "running without OpenVINO: OpenVINO's plugin must load" in caplog.text
    with pytest.raises(DeviceError):
        open_engine(artefact, device="cpu", backend="openvino")
