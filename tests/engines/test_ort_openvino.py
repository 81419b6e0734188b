import json
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from hrnet_deploy.artifact import CARD_KEY
from hrnet_deploy.engines import ort_openvino
from hrnet_deploy.engines.opening import open_engine
from hrnet_deploy.engines.ort import OrtEngine
from hrnet_deploy.engines.ort_header import OnnxHeader, read_header
from hrnet_deploy.engines.ort_openvino import OpenVinoEngine, prefers_openvino
from hrnet_deploy.errors import ArtifactError, MissingDependencyError, MissingFileError, UsageError
from hrnet_deploy.spec import TensorSpec

BIG = {"input": ("N", 3, 224, 224)}
INTEGERS = frozenset({"QuantizeLinear", "Conv"})


def graph(text, **metadata):
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    onnx.helper.set_model_props(model, metadata)
    return model.SerializeToString()


NET = graph(
    "g (float[N, 3, 8, 8] x) => (float[N, A, B, C] y) <float[4, 3, 1, 1] w = "
    "{1.0, 2.0, 3.0, -1.0, 0.5, 0.25, 4.0, -2.0, 1.0, 1.0, 1.0, 1.0}> { c = Conv(x, w) y = Relu(c) }",
    note="ü",
)


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def engine():
    pytest.importorskip("onnxruntime_ep_openvino", reason="needs hrnet-deploy[openvino]")
    return OpenVinoEngine(NET, threads=1)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (OnnxHeader({}, INTEGERS, BIG), True),
        (OnnxHeader({}, INTEGERS, {"input": (8, 3, 224, 224)}), True),
        (OnnxHeader({}, INTEGERS, {"input": ("N", 224, 224, 3)}), True),
        (OnnxHeader({}, frozenset({"Conv"}), BIG), False),
        (OnnxHeader({}, INTEGERS, {"input": ("N", 3, "H", "W")}), False),
        (OnnxHeader({}, INTEGERS, {"input": ("N", 3, 64, 64)}), False),
        (OnnxHeader({}, INTEGERS, {}), False),
        (OnnxHeader(), False),
    ],
)
def test_int8_of_a_fixed_size_prefers_openvino_where_it_is_installed(monkeypatch, header, expected):
    monkeypatch.setattr(ort_openvino, "_installed", lambda: True)
    assert prefers_openvino(header) is expected
    monkeypatch.setattr(ort_openvino, "_installed", lambda: False)
    assert not prefers_openvino(header)


@pytest.mark.parametrize(("target", "expected"), [("cpu", True), ("tensorrt", False)])
def test_what_is_laid_out_for_tensorrt_is_computed_as_written(monkeypatch, photos_onnx, target, expected):
    monkeypatch.setattr(ort_openvino, "_installed", lambda: True)
    card = json.loads(read_header(photos_onnx).metadata[CARD_KEY])
    card["lineage"]["qdq_target"] = target
    assert prefers_openvino(OnnxHeader({CARD_KEY: json.dumps(card)}, INTEGERS, BIG)) is expected


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "gpu", ""])
def test_another_device_than_the_cpu_is_refused(device):
    with pytest.raises(UsageError, match=f"backend 'openvino' must run on the CPU, got device '{device}'"):
        open_engine(NET, device=device, backend="openvino")


def test_fewer_than_one_thread_is_refused():
    with pytest.raises(UsageError, match="threads must be at least 1, got 0"):
        OpenVinoEngine(NET, threads=0)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(MissingFileError, match="artefact must exist"):
        OpenVinoEngine(tmp_path / "net.onnx")


def test_without_the_plugin_the_error_names_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_openvino", None)
    ort_openvino._cpu_device.cache_clear()
    with pytest.raises(
        MissingDependencyError, match=r"needs its plugin, got: .* pip install 'hrnet-deploy\[openvino\]'"
    ):
        open_engine(NET, backend="openvino")


def test_an_engine_tells_what_the_graph_takes_gives_and_carries(engine):
    plain = OrtEngine(NET, device="cpu")
    assert (engine.backend, engine.device, engine.metadata) == ("openvino", "cpu", {"note": "ü"})
    assert engine.inputs == plain.inputs == (TensorSpec("x", "float32", ("N", 3, 8, 8)),)
    assert engine.outputs == plain.outputs


def test_a_file_that_says_all_is_not_opened_twice(photos_onnx, monkeypatch):
    pytest.importorskip("onnxruntime_ep_openvino", reason="needs hrnet-deploy[openvino]")
    opened, open_session = [], ort_openvino.open_session
    monkeypatch.setattr(ort_openvino, "open_session", lambda *given: opened.append(1) or open_session(*given))
    engine, plain = OpenVinoEngine(photos_onnx), OrtEngine(photos_onnx, device="cpu")
    assert opened == [1]
    assert (engine.inputs, engine.outputs, engine.metadata) == (plain.inputs, plain.outputs, plain.metadata)


def test_answers_are_those_of_onnx_runtime_at_every_batch(engine):
    plain = OrtEngine(NET, device="cpu")
    for seed, count in enumerate([1, 4, 2, 3, 8, 5, 1]):
        feed = {"x": images(count, 3, 8, 8, seed=seed)}
        found, wanted = engine.run(feed), plain.run(feed)
        assert list(found) == list(wanted)
        np.testing.assert_allclose(found["y"], wanted["y"], atol=1e-5)


def test_only_growing_batches_are_compiled_and_the_rest_runs_in_parts(engine, monkeypatch):
    compiled = []
    compile_for = engine._compile
    monkeypatch.setattr(engine, "_compile", lambda shapes: compiled.append(shapes[0][0]) or compile_for(shapes))
    for count in (4, 4, 3, 8, 5, 7, 1, 2):
        engine.run({"x": images(count, 3, 8, 8)})
    assert compiled == [4, 8]


def test_several_lanes_compile_for_the_batches_that_come(engine, monkeypatch):
    compiled = []
    several = OpenVinoEngine(NET, threads=2, lanes=2)
    assert not several._sessions
    compile_for = several._compile
    monkeypatch.setattr(several, "_compile", lambda shapes: compiled.append(shapes[0][0]) or compile_for(shapes))
    for count in (4, 3, 1):
        feed = {"x": images(count, 3, 8, 8)}
        np.testing.assert_allclose(several.run(feed)["y"], engine.run(feed)["y"], atol=1e-5)
    assert compiled == [4, 1]


def test_few_shapes_are_kept(engine):
    for count in range(1, 8):
        engine.run({"x": images(count, 3, 8, 8)})
    assert len(engine._sessions) == 4


def test_open_sizes_compile_when_they_are_met(engine):
    model = graph(
        "g (float[N, 3, H, W] x) => (float[N, 3, H, W] y) <float[3, 3, 1, 1] w = "
        "{1.0, 2.0, 3.0, -1.0, 0.5, 0.25, 4.0, -2.0, 1.0}> { y = Conv(x, w) }"
    )
    open_sized, plain = OpenVinoEngine(model), OrtEngine(model, device="cpu")
    assert not open_sized._sessions
    for shape in [(1, 3, 8, 8), (2, 3, 8, 16), (1, 3, 8, 16)]:
        feed = {"x": images(*shape)}
        np.testing.assert_allclose(open_sized.run(feed)["y"], plain.run(feed)["y"], atol=1e-5)


@pytest.fixture
def file(tmp_path):
    pytest.importorskip("onnxruntime_ep_openvino", reason="needs hrnet-deploy[openvino]")
    path = tmp_path / "net.onnx"
    path.write_bytes(NET)
    return path


def kept(cache):
    return sorted(path for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("lanes", [1, 2])
def test_what_was_compiled_is_kept_and_opened_again(file, cache, monkeypatch, lanes):
    feed = {"x": images(4, 3, 8, 8)}
    first = OpenVinoEngine(file, lanes=lanes).run(feed)
    files = {path: path.stat().st_mtime_ns for path in kept(cache)}
    assert {path.suffix for path in files} == {".onnx", ".bin"}
    opened, open_session = [], ort_openvino.open_session
    monkeypatch.setattr(
        ort_openvino, "open_session", lambda model, *given: opened.append(model) or open_session(model, *given)
    )
    again = OpenVinoEngine(file, lanes=lanes)
    np.testing.assert_array_equal(again.run(feed)["y"], first["y"])
    assert {path.parents[2] for path in opened[1:]} == {cache / "compiled"}  # the first tells inputs and outputs
    assert {path: path.stat().st_mtime_ns for path in kept(cache)} == files
    assert again.outputs == OpenVinoEngine(NET).outputs


def test_shapes_threads_and_lanes_are_kept_apart(file, cache):
    for lanes, threads in ((1, None), (1, 1), (2, None)):
        OpenVinoEngine(file, lanes=lanes, threads=threads).run({"x": images(2, 3, 8, 8)})
    assert len([path for path in kept(cache) if path.suffix == ".onnx"]) == 5  # batches of 1 and 2, of 2 for lanes


@pytest.mark.parametrize("suffix", [".onnx", ".bin"])
@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:100], lambda content: None])
def test_damaged_files_in_the_cache_are_made_again(file, cache, suffix, damage):
    feed = {"x": images(1, 3, 8, 8)}
    wanted = OpenVinoEngine(file).run(feed)["y"]
    (path,) = (path for path in kept(cache) if path.suffix == suffix)
    content = path.read_bytes()
    left = damage(content)
    path.unlink() if left is None else path.write_bytes(left)
    np.testing.assert_array_equal(OpenVinoEngine(file).run(feed)["y"], wanted)
    assert len(kept(cache)) == 2
    assert path.stat().st_size == len(content)


def test_graphs_in_the_making_leave_nothing(engine, cache):
    engine.run({"x": images(4, 3, 8, 8)})
    assert not kept(cache)


def test_without_a_place_for_the_cache_it_runs_all_the_same(engine, file, monkeypatch):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(file))
    feed = {"x": images(1, 3, 8, 8)}
    np.testing.assert_array_equal(OpenVinoEngine(file).run(feed)["y"], engine.run(feed)["y"])


def test_eight_threads_get_the_answers_that_one_gets(engine):
    feeds = [{"x": images(1 + seed % 4, 3, 8, 8, seed=seed)} for seed in range(32)]
    wanted = [engine.run(feed)["y"] for feed in feeds]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda feed: engine.run(feed)["y"], feeds))
    for ours, reference in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-5)


@pytest.mark.parametrize(
    "feed", [{}, {"x": images(1, 3, 9, 8)}, {"x": images(1, 3, 8, 8), "w": images(1)}, {"x": [1.0]}]
)
def test_a_feed_that_does_not_fit_is_refused(engine, feed):
    with pytest.raises(UsageError, match="input "):
        engine.run(feed)


def test_a_damaged_graph_is_refused_in_one_line(engine):
    with pytest.raises(ArtifactError, match=r"^graph must be a model ONNX Runtime can open, got: [^\n]+$"):
        OpenVinoEngine(NET[: len(NET) // 2])


def test_a_graph_that_openvino_does_not_take_whole_is_refused(engine):
    strings = graph("g (string[N] x) => (string[N] y) { y = StringNormalizer(x) }")
    with pytest.raises(ArtifactError):
        OpenVinoEngine(strings)
