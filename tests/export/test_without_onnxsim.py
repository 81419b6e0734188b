"""Exporting on a machine that has no onnxsim, as a server without a package registry."""

import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from hrnet_deploy import Predictor, export
from hrnet_deploy.errors import MissingDependencyError
from hrnet_deploy.export import plan


@pytest.fixture
def bare(monkeypatch):
    def found(name):
        if name == "onnxsim":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setitem(sys.modules, "onnxsim", None)
    monkeypatch.setattr(plan, "version", found)


@pytest.mark.slow
def test_an_export_works_with_no_simplify_and_otherwise_names_the_package(bare, demo, tmp_path):
    options = {"weights": demo / "hrnet_w18_small_v1_photos10.safetensors", "imgsz": 32, "resize": "squash"}
    with pytest.raises(MissingDependencyError, match=r"needs onnxsim, .* pip install onnxsim, or use --no-simplify"):
        export(**options, output=tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()
    path = export(**options, simplify=False, output=tmp_path / "net.onnx").path
    with Predictor(path, device="cpu") as predictor:
        assert predictor.card.lineage["onnx"] == version("onnx")
        assert "onnxsim" not in predictor.card.lineage
