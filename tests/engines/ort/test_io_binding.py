"""The logic of bound buffers, on the CPU: ONNX Runtime binds there as on a GPU, and ignores the numbers of graphs."""

import logging
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest

from hrnet_deploy.engines.ort.device_io import DeviceRunner
from hrnet_deploy.engines.ort.io_binding import BoundSession, outputs_match
from hrnet_deploy.engines.ort.session import open_session, session_options, spec
from hrnet_deploy.errors import UsageError

NET = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\n'
    "g (float[N, 3, H, 8] x) => (float[N, 3, A, B] y, int64[N] z) {"
    "m = GlobalAveragePool(x) y = Mul(m, m) f = Flatten(m) z = ArgMax<axis = 1, keepdims = 0>(f) }"
).SerializeToString()


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Spy:
    """A session that notes the graph number of each run and may answer wrongly or fail under one."""

    def __init__(self, session, flaw=None):
        self.session, self.flaw, self.graphs = session, flaw, []

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run_with_iobinding(self, binding, options):
        graph = options.get_run_config_entry("gpu_graph_id") if hasattr(options, "get_run_config_entry") else options
        self.graphs.append(graph)
        captured = len(self.graphs) > 1 and graph != "-1"
        if self.flaw == "fails" and captured:
            raise RuntimeError("capture\nfailed")
        self.session.run_with_iobinding(binding, options)
        if self.flaw == "lies" and captured:
            for value in binding.get_outputs():
                value.update_inplace(np.ones(value.shape(), value.numpy().dtype) * 7)


def bound(*, graphs=False, flaw=None):
    session = Spy(open_session(NET, "graph", session_options(threads=1), ["CPUExecutionProvider"]), flaw)
    return BoundSession(session, device_type="cpu", device=0, graphs=graphs)


def plain(x):
    session = onnxruntime.InferenceSession(NET, providers=["CPUExecutionProvider"])
    return dict(zip(("y", "z"), session.run(None, {"x": x}), strict=True))


def check(runner, x):
    found, wanted = runner.run({"x": x}), plain(x)
    assert list(found) == ["y", "z"]
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])
    return found


@pytest.mark.parametrize("graphs", [False, True])
def test_bound_runs_answer_as_plain_ones_at_every_shape(graphs):
    runner = bound(graphs=graphs)
    for seed, shape in enumerate([(1, 3, 4, 8), (5, 3, 4, 8), (1, 3, 4, 8), (2, 3, 9, 8), (5, 3, 4, 8)]):
        check(runner, images(*shape, seed=seed))


def test_answers_stay_what_they_were_when_the_buffers_are_used_again():
    runner = bound()
    first = check(runner, images(2, 3, 4, 8, seed=1))
    kept = {name: value.copy() for name, value in first.items()}
    check(runner, images(2, 3, 4, 8, seed=2))
    for name, value in kept.items():
        np.testing.assert_array_equal(first[name], value)


def test_one_shape_keeps_its_addresses_and_a_transposed_input_is_fine():
    runner = bound()
    check(runner, images(2, 4, 8, 3).transpose(0, 3, 1, 2))
    (buffers,) = runner._buffers.values()
    addresses = [value.data_ptr() for value in (*buffers.inputs.values(), *buffers.outputs.values())]
    check(runner, images(2, 3, 4, 8, seed=3))
    (again,) = runner._buffers.values()
    assert again is buffers
    assert [value.data_ptr() for value in (*again.inputs.values(), *again.outputs.values())] == addresses


def test_an_empty_batch_runs():
    assert bound().run({"x": np.zeros((0, 3, 4, 8), np.float32)})["y"].shape == (0, 3, 1, 1)


def test_buffers_of_few_shapes_are_kept_without_graphs():
    runner = bound()
    for height in range(1, 10):
        check(runner, images(1, 3, height, 8))
    assert [shapes[0][2] for shapes in runner._buffers] == [6, 7, 8, 9]


def test_eight_shapes_get_a_graph_and_later_ones_run_without():
    runner = bound(graphs=True)
    for height in range(1, 12):
        check(runner, images(1, 3, height, 8))
    assert [buffers.has_graph for buffers in runner._buffers.values()] == [True] * 8 + [False] * 3
    check(runner, images(1, 3, 2, 8, seed=4))


@pytest.mark.parametrize(("flaw", "reason"), [("lies", "its outputs differ"), ("fails", "capture failed")])
def test_a_graph_that_fails_or_answers_otherwise_is_not_used(monkeypatch, caplog, flaw, reason):
    numbered = lambda graph: types.SimpleNamespace(get_run_config_entry=lambda _: graph)  # noqa: E731
    monkeypatch.setattr("hrnet_deploy.engines.ort.io_binding._run_options", numbered)
    runner = bound(graphs=True, flaw=flaw)
    inner = runner._session.session
    monkeypatch.setattr(runner._session, "session", Unnumbered(inner))
    with caplog.at_level(logging.WARNING):
        for seed in range(3):
            check(runner, images(2, 3, 4, 8, seed=seed))
    assert f"CUDA graphs are not used here: {reason}" in caplog.text
    assert not runner.graphs
    assert runner._session.graphs[-1] == "-1"


class Unnumbered:
    """A session that takes the stand-ins for run options."""

    def __init__(self, session):
        self.session = session

    def __getattr__(self, name):
        return getattr(self.session, name)

    def run_with_iobinding(self, binding, options):
        self.session.run_with_iobinding(binding)


def test_threads_share_the_buffers_in_turn():
    runner = bound(graphs=True)
    feeds = [images(1 + seed % 3, 3, 4, 8, seed=seed) for seed in range(48)]
    wanted = [plain(x)["y"] for x in feeds]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: runner.run({"x": x})["y"], feeds))
    for ours, reference in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, reference)


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], True),
        ([1.0, 2.001], [1.0, 2.0], True),
        ([1.0, 2.1], [1.0, 2.0], False),
        ([np.nan, 1.0], [np.nan, 1.0], True),
        ([np.nan, 1.0], [0.0, 1.0], False),
        ([], [], True),
        ([0.0], [0.0], True),
    ],
)
def test_alike_floats(found, wanted, expected):
    assert outputs_match(np.array(found, np.float32), np.array(wanted, np.float32)) is expected


def test_alike_halves_and_labels():
    assert outputs_match(np.array([1.01], np.float16), np.array([1.0], np.float16))
    labels = np.arange(10_000) % 19
    few, many = labels.copy(), labels.copy()
    few[:5], many[:50] = 0, 20
    assert outputs_match(few, labels)
    assert not outputs_match(many, labels)


class OnGpu:
    """An array that says it lies on a GPU; the fake one's memory is the host's."""

    def __init__(self, array, strides=None):
        self.array = array
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": strides,
            "version": 3,
            "stream": 77,
        }


@pytest.fixture
def there(cuda):
    runner = bound(graphs=True)
    return DeviceRunner(runner, tuple(spec(v) for v in runner._session.get_inputs()), cuda, 0)


def test_gpu_arrays_go_in_and_come_out_on_the_gpu(there, cuda):
    held = []
    for seed, shape in enumerate([(2, 3, 4, 8), (2, 3, 4, 8), (1, 3, 5, 8)]):
        x = images(*shape, seed=seed)
        held.append((there.run({"x": OnGpu(x)}), plain(x)))
    assert {other for _, other in cuda.waits} == {77}
    assert cuda.calls["copy_in"] == cuda.calls["copy_out"] == 0
    for found, wanted in held:
        for name, value in wanted.items():
            assert (found[name].shape, found[name].dtype, found[name].device) == (value.shape, value.dtype, 0)
            np.testing.assert_array_equal(found[name].numpy(), value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (images(2, 4, 4, 8), r"input 'x' must be float32 \('N', 3, 'H', 8\), got float32 \(2, 4, 4, 8\)"),
        (images(2, 3, 4, 8).astype(np.float16), "got float16"),
    ],
)
def test_gpu_arrays_that_do_not_fit_are_refused(there, array, message):
    with pytest.raises(UsageError, match=message):
        there.run({"x": OnGpu(array)})


def test_a_gpu_array_with_gaps_is_refused(there):
    with pytest.raises(UsageError, match="must be contiguous in GPU memory"):
        there.run({"x": OnGpu(images(2, 3, 4, 8), strides=(384, 128, 32, 8))})


def test_closing_gives_everything_back(there, cuda):
    found = there.run({"x": OnGpu(images(2, 3, 4, 8))})
    del found
    there.close()
    assert cuda.leftovers == 0
