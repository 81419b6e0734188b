import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from hrnet_deploy.engines import compiled_cache
from hrnet_deploy.engines.compiled_cache import compiled_folder, open_cached
from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.errors import ArtifactError

INT8 = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\n'
    "g (float[N, 2] x) => (float[N, 2] y) <float s = {0.1}, int8 z = {0}>"
    "{ r = Relu(x) q = QuantizeLinear(r, s, z) y = DequantizeLinear(q, s, z) }"
)
onnx.helper.set_model_props(INT8, {"hrnet_deploy.card": "{}", "note": "ü"})
FEED = {"x": np.array([[-1.0, 0.32]], np.float32)}


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


def test_what_was_not_opened_for_longest_makes_room(cache, monkeypatch):
    monkeypatch.setattr(compiled_cache, "_MAX_BYTES", 700)

    def keep(content):
        folder = compiled_folder("openvino", content)
        open_cached(folder, "kind", reopen=Path.iterdir, create=lambda made: (made / "net").write_bytes(bytes(100)))
        return folder

    folders = [keep(content) for content in (b"a", b"b")]
    for age, folder in enumerate(folders, 1):
        os.utime(folder, (1e9 - age, 1e9 - age))
    assert compiled_folder("openvino", b"b") == folders[1]  # opened again
    folders.append(keep(b"c"))
    assert [folder.is_dir() for folder in folders] == [False, True, True]
    monkeypatch.setattr(compiled_cache, "_MAX_BYTES", 50)
    folders.append(keep(b"d"))
    assert [folder.is_dir() for folder in folders] == [False, False, False, True]  # never what was just made


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


@pytest.fixture
def artefact(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(INT8.SerializeToString())
    return path


def kept(cache):
    return [path for path in cache.rglob("*.onnx") if path.is_file()]


def check(engine):
    np.testing.assert_allclose(engine.run(FEED)["y"], [[0.0, 0.3]], atol=1e-6)
    assert engine.metadata == {"hrnet_deploy.card": "{}", "note": "ü"}
    assert [spec.shape for spec in (*engine.inputs, *engine.outputs)] == [("N", 2), ("N", 2)]


def test_the_second_start_reads_what_the_first_optimised(artefact, cache):
    check(OrtEngine(artefact, device="cpu"))
    (made,) = kept(cache)
    before = made.stat()
    check(OrtEngine(artefact, device="cpu"))
    (again,) = kept(cache)
    assert (again, again.stat().st_mtime_ns) == (made, before.st_mtime_ns)


def test_another_content_under_the_same_name_is_optimised_anew(artefact, cache):
    check(OrtEngine(artefact, device="cpu"))
    other = onnx.ModelProto.FromString(INT8.SerializeToString())
    other.graph.initializer[0].CopyFrom(onnx.helper.make_tensor("s", onnx.TensorProto.FLOAT, [], [0.5]))
    artefact.write_bytes(other.SerializeToString())
    np.testing.assert_allclose(OrtEngine(artefact, device="cpu").run(FEED)["y"], [[0.0, 0.5]])
    assert len(kept(cache)) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"not a graph",
        lambda content: content[:40],
        lambda content: content.replace(np.float32(0.1).tobytes(), np.float32(0.2).tobytes()),  # opens, and is wrong
    ],
)
def test_a_damaged_file_in_the_cache_is_made_again(artefact, cache, damage):
    check(OrtEngine(artefact, device="cpu"))
    (made,) = kept(cache)
    content = made.read_bytes()
    made.write_bytes(damage(content))
    assert made.read_bytes() != content
    check(OrtEngine(artefact, device="cpu"))
    (again,) = kept(cache)
    assert (again, len(again.read_bytes())) == (made, len(content))


def test_a_graph_with_weights_in_another_file_is_not_kept(artefact, cache):
    model = onnx.ModelProto.FromString(INT8.SerializeToString())
    array = np.array([0.1], np.float32).reshape(())
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(array, "s"))
    onnx.save_model(model, artefact, save_as_external_data=True, location="net.data", size_threshold=0)
    check(OrtEngine(artefact, device="cpu"))
    artefact.with_name("net.data").write_bytes(
        artefact.with_name("net.data").read_bytes().replace(array.tobytes(), np.float32(0.5).tobytes())
    )
    np.testing.assert_allclose(OrtEngine(artefact, device="cpu").run(FEED)["y"], [[0.0, 0.5]])
    assert not kept(cache)


def test_without_a_cache_it_opens_all_the_same(artefact, cache):
    cache.write_text("a file where the folder should be")
    check(OrtEngine(artefact, device="cpu"))


def test_where_the_cache_cannot_be_written_it_opens_all_the_same(artefact, cache, monkeypatch):
    monkeypatch.setattr("hrnet_deploy.engines.ort.session.compiled_folder", lambda *_: cache / "not" / "there")
    check(OrtEngine(artefact, device="cpu"))


def test_float_graphs_and_graphs_run_in_order_leave_nothing(artefact, cache):
    check(OrtEngine(artefact, device="cpu", in_order=True))
    check(OrtEngine(INT8.SerializeToString(), device="cpu"))
    text = '<ir_version: 9, opset_import: ["" : 20]>\ng (float[N] x) => (float[N] y) { y = Relu(x) }'
    artefact.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    OrtEngine(artefact, device="cpu")
    assert not kept(cache)


def test_a_broken_graph_is_refused_by_its_own_name_and_leaves_nothing(artefact, cache):
    broken = onnx.ModelProto.FromString(INT8.SerializeToString())
    broken.graph.node[1].input[0] = "nowhere"
    artefact.write_bytes(broken.SerializeToString())
    with pytest.raises(ArtifactError, match=r"^net\.onnx must be a model ONNX Runtime can open"):
        OrtEngine(artefact, device="cpu")
    assert not kept(cache)


def test_many_first_starts_at_once_leave_one_file(artefact, cache):
    with ThreadPoolExecutor(8) as pool:
        for engine in pool.map(lambda _: OrtEngine(artefact, device="cpu", threads=1), range(16)):
            check(engine)
    assert len(kept(cache)) == 1
