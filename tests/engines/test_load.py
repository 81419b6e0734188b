import sys
from pathlib import Path

import onnx
import pytest

from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import ArtifactError, MissingDependencyError, MissingFileError, UsageError

MODEL = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\ng (float[N] x) => (float[N] y) { y = Relu(x) }'
).SerializeToString()


@pytest.fixture
def path(tmp_path):
    (tmp_path / "net.onnx").write_bytes(MODEL)
    return tmp_path / "net.onnx"


@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
def test_an_onnx_file_opens_on_onnx_runtime(path, backend):
    engine = open_engine(path, device="cpu", backend=backend, threads=1)
    assert (engine.backend, engine.device) == ("onnxruntime", "cpu")


def test_a_path_may_be_a_text(path, tmp_path):
    assert open_engine(str(path), device="cpu").inputs[0].name == "x"
    with pytest.raises(MissingFileError, match="artifact must be a file, got"):
        open_engine(str(tmp_path / "missing.engine"))


def test_the_bytes_of_a_graph_open_as_well():
    assert open_engine(MODEL, device="cpu").inputs[0].name == "x"


@pytest.mark.parametrize("name", ["missing.onnx", ".", "missing.engine"])
def test_what_is_no_file_is_missing(tmp_path, name):
    with pytest.raises(MissingFileError, match="artifact must be a file, got"):
        open_engine(tmp_path / name)


@pytest.mark.parametrize("name", ["net.pth", "net", "net.onnx.data"])
def test_a_file_of_another_kind_is_refused_by_name(path, name):
    other = path.rename(path.with_name(name))
    with pytest.raises(ArtifactError, match=rf"artifact must be an \.onnx or \.engine file, got .*{name}\. Export one"):
        open_engine(other)


@pytest.mark.parametrize("backend", ["", "tflite", "ONNXRuntime"])
def test_an_unknown_backend_is_refused_with_those_there_are(path, backend):
    with pytest.raises(UsageError, match=f"backend must be one of auto, onnxruntime.*, got '{backend}'"):
        open_engine(path, backend=backend)


def test_without_onnx_runtime_the_error_names_the_pip_line(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "hrnet_deploy.engines.ort.engine", raising=False)
    with pytest.raises(MissingDependencyError, match=r"pip install 'hrnet-deploy\[cpu\]' \(or \[openvino\], \[gpu\]\)"):
        open_engine(path)
    with pytest.raises(ImportError):
        open_engine(path)


def test_a_missing_file_is_reported_before_a_missing_runtime(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "hrnet_deploy.engines.ort.engine", raising=False)
    with pytest.raises(MissingFileError):
        open_engine(Path("missing.onnx"))
