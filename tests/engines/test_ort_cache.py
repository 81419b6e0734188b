from pathlib import Path

import pytest

from hrnet_deploy.engines.ort_cache import compiled_folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_one_folder_a_content_runtime_and_version(tmp_path, cache):
    (tmp_path / "a.onnx").write_bytes(b"graph")
    (tmp_path / "b.onnx").write_bytes(b"graph")
    found = compiled_folder("openvino", tmp_path / "a.onnx", "1", "2")
    assert found.is_dir()
    assert found.parent == cache / "compiled"
    assert compiled_folder("openvino", tmp_path / "b.onnx", "1", "2") == found
    assert compiled_folder("openvino", b"graph", "1", "2") == found
    others = [
        compiled_folder("openvino", b"graph!", "1", "2"),
        compiled_folder("openvino", b"graph", "1", "3"),
        compiled_folder("openvino", b"graph", "12"),
        compiled_folder("other", b"graph", "1", "2"),
    ]
    assert len({found, *others}) == 5


def test_without_a_place_to_write_nothing_is_kept(cache):
    cache.write_text("a file where the folder should be")
    assert compiled_folder("openvino", b"graph") is None


def test_without_a_home_nothing_is_kept(monkeypatch):
    for name in ("HRNET_DEPLOY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def homeless():
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert compiled_folder("openvino", b"graph") is None
