"""CUDA's libraries beside another onnxruntime, as `pip install --target` and layered images leave them."""

import sys
from pathlib import Path

import onnxruntime
import pytest

from hrnet_deploy.engines.ort.libraries import libraries_elsewhere, preload_libraries

NAMES = ("libcublasLt.so.13", "libcublas.so.13", "libcufft.so.12", "libcudart.so.13")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A site-packages of its own with CUDA 13's layout, and an ONNX Runtime for CUDA 13 in another one."""
    own = tmp_path / "own" / "onnxruntime" / "__init__.py"
    monkeypatch.setattr(onnxruntime, "__file__", str(own))
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0", raising=False)
    listed = lambda windows: [("nvidia", "cu13", "lib", name) for name in NAMES]  # noqa: E731
    monkeypatch.setattr(onnxruntime, "_get_nvidia_dll_paths", listed, raising=False)
    folder = tmp_path / "target" / "nvidia" / "cu13" / "lib"
    folder.mkdir(parents=True)
    for name in NAMES[:2] + NAMES[3:]:
        (folder / name).write_bytes(b"not a library")
    monkeypatch.syspath_prepend(str(tmp_path / "target"))
    # `nvidia` may be imported already; its path is what the import system knows then.
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    preload_libraries.cache_clear()
    yield folder
    preload_libraries.cache_clear()


def test_libraries_of_another_site_packages_are_found_in_the_order_they_are_needed(site):
    assert libraries_elsewhere() == [site / "libcublasLt.so.13", site / "libcublas.so.13", site / "libcudart.so.13"]


def test_what_lies_beside_onnxruntime_is_left_to_it(site):
    beside = Path(onnxruntime.__file__).parents[1] / "nvidia" / "cu13" / "lib"
    beside.mkdir(parents=True)
    (beside / "libcudart.so.13").write_bytes(b"")
    assert [path.name for path in libraries_elsewhere()] == ["libcublasLt.so.13", "libcublas.so.13"]


def test_a_build_without_cuda_looks_for_nothing(site, monkeypatch):
    monkeypatch.setattr(onnxruntime, "cuda_version", "")
    assert libraries_elsewhere() == []


def test_they_are_loaded_before_onnx_runtime_s_own_and_what_fails_stops_nothing(site, monkeypatch, capsys):
    order = []

    def preload():
        order.append("onnxruntime")
        print("Failed to load libcudnn.so.9")  # noqa: T201 - as ONNX Runtime does

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)

    def load(path):
        order.append(Path(path).name)
        if "cublas.so" in path:
            raise OSError("invalid ELF header")

    monkeypatch.setattr("hrnet_deploy.engines.ort.libraries.ctypes.CDLL", load)
    preload_libraries()
    preload_libraries()
    assert order == ["libcublasLt.so.13", "libcublas.so.13", "libcudart.so.13", "onnxruntime"]
    assert capsys.readouterr().out == ""


def test_the_list_comes_from_onnx_runtime_itself():
    """The name is not public; a version without it needs LD_LIBRARY_PATH, and this says so first."""
    if not hasattr(onnxruntime, "preload_dlls"):
        pytest.skip("this ONNX Runtime preloads nothing")
    assert callable(onnxruntime._get_nvidia_dll_paths)
