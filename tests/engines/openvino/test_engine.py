import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.engines.openvino import engine as room
from hrnet_deploy.engines.openvino import runtime
from hrnet_deploy.engines.openvino.engine import OpenVinoEngine
from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingDependencyError, MissingFileError, UsageError
from hrnet_deploy.spec import TensorSpec


def graph(text, **metadata):
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    onnx.helper.set_model_props(model, metadata)
    return model.SerializeToString()


WEIGHTS = "{1.0, 2.0, 3.0, -1.0, 0.5, 0.25, 4.0, -2.0, 1.0, 1.0, 1.0, 1.0}"
NET = graph(
    f"g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y) <float[4, 3, 1, 1] w = {WEIGHTS}>"
    "{ c = Conv(x, w) y = Relu(c) }",
    note="ü",
)
OPEN = graph(f"g (float[N, 3, H, W] x) => (float[N, 4, H, W] y) <float[4, 3, 1, 1] w = {WEIGHTS}> {{ y = Conv(x, w) }}")


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def engine(openvino_cpu):
    return OpenVinoEngine(NET, threads=1)


@pytest.fixture
def file(openvino_cpu, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(NET)
    return path


def kept(cache):
    return sorted(path for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "gpu", ""])
def test_another_device_than_the_cpu_is_refused(device):
    with pytest.raises(UsageError, match=f"backend 'openvino' must run on the CPU, got device '{device}'"):
        open_engine(NET, device=device, backend="openvino")


def test_fewer_than_one_thread_is_refused():
    with pytest.raises(UsageError, match="threads must be 1 to 1024, got 0"):
        OpenVinoEngine(NET, threads=0)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(MissingFileError, match="artifact must exist"):
        OpenVinoEngine(tmp_path / "net.onnx")


def test_without_the_package_the_error_names_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    runtime.load_core.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"needs OpenVINO, got: .* pip install 'hrnet-deploy\[openvino\]'"):
        open_engine(NET, backend="openvino")
    monkeypatch.undo()
    runtime.load_core.cache_clear()


def test_an_engine_reports_inputs_outputs_and_metadata_of_the_graph(engine):
    plain = OrtEngine(NET, device="cpu")
    assert (engine.backend, engine.device, engine.metadata) == ("openvino", "cpu", {"note": "ü"})
    assert engine.inputs == plain.inputs == (TensorSpec("x", "float32", ("N", 3, 8, 8)),)
    assert engine.outputs == plain.outputs


@pytest.mark.parametrize("outputs", ["float[N, A, B, C] y", "float y"])
def test_what_a_graph_does_not_declare_is_inferred(openvino_cpu, outputs):
    text = f"g (float[N, 3, 8, 8] x) => ({outputs}) <float[4, 3, 1, 1] w = {WEIGHTS}> {{ y = Conv(x, w) }}"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    if outputs == "float y":
        model.graph.output[0].type.tensor_type.ClearField("shape")
    engine = OpenVinoEngine(model.SerializeToString())
    assert engine.inputs == (TensorSpec("x", "float32", ("N", 3, 8, 8)),)
    (output,) = engine.outputs
    assert (output.name, output.dtype, output.shape[1:]) == ("y", "float32", (4, 8, 8))
    assert isinstance(output.shape[0], str)
    assert engine.run({"x": images(3, 3, 8, 8)})["y"].shape == (3, 4, 8, 8)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=4), streams=st.integers(1, 3), seed=st.integers(0, 99))
def test_outputs_are_those_of_onnx_runtime_at_every_batch(openvino_cpu, counts, streams, seed):
    engine, plain = OpenVinoEngine(NET, streams=streams), OrtEngine(NET, device="cpu")
    for count in counts:
        feed = {"x": images(count, 3, 8, 8, seed=seed)}
        found, wanted = engine.run(feed), plain.run(feed)
        assert list(found) == list(wanted)
        np.testing.assert_allclose(found["y"], wanted["y"], atol=1e-5)


def test_a_batch_of_any_size_is_compiled_once(engine, monkeypatch):
    read = []
    read_model = room._read
    monkeypatch.setattr(room, "_read", lambda *given: read.append(1) or read_model(*given))
    fresh = OpenVinoEngine(NET)
    for count in (4, 3, 8, 1):
        fresh.run({"x": images(count, 3, 8, 8)})
    assert read == [1]


def test_open_sizes_are_compiled_once(openvino_cpu):
    engine, plain = OpenVinoEngine(OPEN, streams=2), OrtEngine(OPEN, device="cpu")
    for shape in [(1, 3, 8, 8), (2, 3, 8, 16), (5, 3, 13, 7), (1, 3, 8, 8)]:
        feed = {"x": images(*shape)}
        np.testing.assert_allclose(engine.run(feed)["y"], plain.run(feed)["y"], atol=1e-5)


def test_a_fixed_batch_runs_as_a_whole(openvino_cpu):
    model = graph(
        f"g (float[4, 3, 8, 8] x) => (float[4, 4, 8, 8] y) <float[4, 3, 1, 1] w = {WEIGHTS}> {{ y = Conv(x, w) }}"
    )
    feed = {"x": images(4, 3, 8, 8)}
    wanted = OrtEngine(model, device="cpu").run(feed)["y"]
    np.testing.assert_allclose(OpenVinoEngine(model).run(feed)["y"], wanted, atol=1e-5)


def test_a_graph_that_mixes_the_images_of_a_batch_runs_as_a_whole(openvino_cpu):
    model = graph(
        "g (float[N, 3] x) => (float[1, 3] y) <int64[1] axes = {0}> { y = ReduceSum <keepdims = 1> (x, axes) }"
    )
    np.testing.assert_allclose(OpenVinoEngine(model).run({"x": np.ones((5, 3), np.float32)})["y"], [[5, 5, 5]])


def test_several_inputs_and_outputs_keep_their_names_and_types(openvino_cpu, tmp_path):
    path = tmp_path / "two.onnx"
    path.write_bytes(
        graph(
            "g (float[N, 4] b, uint8[N, 4] a) => (int64[N, 2] indices, float[N, 2] values, float[N, 4] sum)"
            "<int64[1] k = {2}> { c = Cast <to = 1> (a) sum = Add(b, c) values, indices = TopK(sum, k) }"
        )
    )
    feed = {"a": np.arange(12, dtype=np.uint8).reshape(3, 4), "b": images(3, 4)}
    wanted = OrtEngine(path, device="cpu").run(feed)
    for _ in range(2):  # compiled, and opened from the cache
        engine = OpenVinoEngine(path)
        found = engine.run(feed)
        assert list(found) == ["indices", "values", "sum"] == [one.name for one in engine.outputs]
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_allclose(found[name], array, rtol=1e-6)
    with pytest.raises(UsageError, match="inputs must hold equally many images, got 2, 3"):
        engine.run({**feed, "b": images(2, 4)})


@pytest.mark.parametrize("made", [np.asfortranarray, lambda x: np.flip(np.flip(x, 3), 3), lambda x: x[:, :, :, ::-1]])
def test_memory_of_any_layout_is_read_and_never_written(engine, made):
    array = made(images(2, 3, 8, 8))
    array.flags.writeable = False
    before = array.copy()
    wanted = OrtEngine(NET, device="cpu").run({"x": np.ascontiguousarray(before)})["y"]
    np.testing.assert_allclose(engine.run({"x": array})["y"], wanted, atol=1e-5)
    np.testing.assert_array_equal(array, before)


def test_results_belong_to_the_caller(engine):
    first = engine.run({"x": images(1, 3, 8, 8)})["y"]
    copy = first.copy()
    engine.run({"x": images(1, 3, 8, 8, seed=1)})
    np.testing.assert_array_equal(first, copy)


@pytest.mark.parametrize("streams", [1, 2])
def test_what_was_compiled_is_kept_and_opened_again(file, cache, monkeypatch, streams):
    feed = {"x": images(4, 3, 8, 8)}
    first = OpenVinoEngine(file, streams=streams).run(feed)
    files = {path: path.stat().st_mtime_ns for path in kept(cache)}
    assert {path.name for path in files} == {"net.blob", "digests.json"}
    monkeypatch.setattr(room, "_read", lambda *_: pytest.fail("the graph is read again"))
    again = OpenVinoEngine(file, streams=streams)
    gc.collect()  # the weights stay mapped as long as the engine lives
    np.testing.assert_array_equal(again.run(feed)["y"], first["y"])
    assert {path: path.stat().st_mtime_ns for path in kept(cache)} == files


def test_arithmetic_threads_and_lanes_are_kept_apart(file, cache):
    for streams, threads in ((1, None), (1, 1), (2, None)):
        OpenVinoEngine(file, streams=streams, threads=threads).run({"x": images(2, 3, 8, 8)})
    assert len([path for path in kept(cache) if path.suffix == ".blob"]) == 3


def flipped(content):
    return content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]


def cut(content):
    return content[:-2]


def longer(content):
    return content + b"\0"


@pytest.mark.parametrize("name", ["net.blob", "digests.json"])
@pytest.mark.parametrize("damage", [lambda _: b"", cut, flipped, longer, lambda _: None])
def test_damaged_files_in_the_cache_are_made_again(file, cache, name, damage):
    feed = {"x": images(1, 3, 8, 8)}
    wanted = OpenVinoEngine(file).run(feed)["y"]
    (path,) = (path for path in kept(cache) if path.name == name)
    content = path.read_bytes()
    left = damage(content)
    path.unlink() if left is None else path.write_bytes(left)
    np.testing.assert_array_equal(OpenVinoEngine(file).run(feed)["y"], wanted)
    assert len(kept(cache)) == 2
    assert path.stat().st_size == len(content)


def test_weights_in_another_file_are_not_kept_by_the_graph_alone(openvino_cpu, cache, tmp_path):
    model = onnx.load_model_from_string(NET)
    array = onnx.numpy_helper.to_array(model.graph.initializer[0])
    del model.graph.initializer[:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), "w"))
    path = tmp_path / "net.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    first = OpenVinoEngine(path).run({"x": images(1, 3, 8, 8)})["y"]
    (tmp_path / "net.data").write_bytes((2 * array).tobytes())
    np.testing.assert_allclose(OpenVinoEngine(path).run({"x": images(1, 3, 8, 8)})["y"], 2 * first, rtol=1e-6)
    assert not kept(cache)


def test_graphs_in_the_making_leave_nothing(engine, cache):
    engine.run({"x": images(4, 3, 8, 8)})
    assert not kept(cache)


def test_without_a_place_for_the_cache_it_runs_all_the_same(engine, file, monkeypatch):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(file))
    feed = {"x": images(1, 3, 8, 8)}
    np.testing.assert_array_equal(OpenVinoEngine(file).run(feed)["y"], engine.run(feed)["y"])


@pytest.mark.slow
@pytest.mark.parametrize("streams", [1, 2, 3])
def test_eight_threads_get_the_outputs_that_one_gets(openvino_cpu, streams):
    engine = OpenVinoEngine(NET, streams=streams)
    feeds = [{"x": images(1 + seed % 7, 3, 8, 8, seed=seed)} for seed in range(64)]
    wanted = [OrtEngine(NET, device="cpu").run(feed)["y"] for feed in feeds]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda feed: engine.run(feed)["y"], feeds))
    for ours, reference in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-5)


@pytest.mark.parametrize(
    "feed",
    [{}, {"x": images(1, 3, 9, 8)}, {"x": images(1, 3, 8, 8), "w": images(1)}, {"x": [1.0]}, {"x": images(0, 3, 8, 8)}],
)
def test_a_feed_that_does_not_fit_is_refused(engine, feed):
    with pytest.raises(UsageError, match="input "):
        engine.run(feed)


def test_a_size_that_the_graph_cannot_take_is_one_clear_error_and_the_next_run_works(openvino_cpu):
    model = graph("g (float[N, 3, H, W] x) => (float[N, 12] y) <int64[2] s = {1, 12}>{ y = Reshape(x, s) }")
    engine = OpenVinoEngine(model)
    with pytest.raises(DeviceError, match=r"^graph must run on OpenVINO, got: [^\n]+$"):
        engine.run({"x": images(3, 3, 3, 3)})
    assert engine.run({"x": images(2, 3, 2, 2)})["y"].shape == (2, 12)


def test_a_closed_engine_says_so(engine):
    engine.close()
    engine.close()
    with pytest.raises(DeviceError, match="graph must be open to run, got a closed engine"):
        engine.run({"x": images(1, 3, 8, 8)})


def test_closing_lets_a_run_that_began_end(openvino_cpu, file):
    OpenVinoEngine(file).close()  # from the cache below, so that the weights are mapped
    engine = OpenVinoEngine(file)
    feed = {"x": images(400, 3, 8, 8)}
    wanted = OrtEngine(NET, device="cpu").run(feed)["y"]
    found = []
    thread = threading.Thread(target=lambda: found.append(engine.run(feed)["y"]))
    thread.start()
    engine.close()
    thread.join()
    for array in found:  # none where closing came first
        np.testing.assert_allclose(array, wanted, atol=1e-5)


def test_a_damaged_graph_is_refused_in_one_line(openvino_cpu):
    with pytest.raises(ArtifactError, match=r"^graph must be a model OpenVINO can open, got: [^\n]+$"):
        OpenVinoEngine(NET[: len(NET) // 2])


def test_a_graph_that_openvino_does_not_know_is_refused(openvino_cpu):
    with pytest.raises(ArtifactError, match="OpenVINO can open"):
        OpenVinoEngine(graph("g (float[N] x) => (float[N] y) { y = NoSuchOperator(x) }"))
