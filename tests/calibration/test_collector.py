import logging
import signal
import threading
import time

import numpy as np
import onnx
import pytest

from hrnet_deploy.calibration import collector
from hrnet_deploy.calibration.collector import collect
from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.errors import UsageError

OUTPUTS = {"sum_out": "net/sum", "positive": "net/relu"}


@pytest.fixture(scope="module")
def engine():
    text = (
        "g (float[N, 3, 8, 8] input) => (float[N, 3, 8, 8] sum_out, float[N, 3, 8, 8] positive, float[N, 3, 1, 1] y) {"
        "two = Constant<value_float = 2.0>() root = Sqrt(input) sum_out = Sub(root, two)"
        "positive = Relu(sum_out) y = GlobalAveragePool(positive) }"
    )
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    return OrtEngine(model.SerializeToString(), device="cpu", threads=1)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.uniform(0, 4 + i, (2, 3, 8, 8)).astype(np.float32) for i in range(9)]


@pytest.fixture
def saving_often(monkeypatch):
    monkeypatch.setattr(collector, "_SAVE_EVERY_BATCHES", 2)


def of(batches):
    return lambda start: batches[start:]


def failing(batches, after, error):
    def source(start):
        yield from batches[start:after]
        raise error

    return source


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for tensor, histogram in wanted.items():
        for field, value in vars(histogram).items():
            np.testing.assert_array_equal(vars(found[tensor])[field], value)


def test_every_output_is_counted_under_its_tensor_s_name(engine, images):
    found = collect(engine, OUTPUTS, of(images), images=18)
    assert list(found) == ["net/sum", "net/relu"]
    values = np.sqrt(np.concatenate(images)) - 2
    assert found["net/sum"].count == found["net/relu"].count == values.size
    assert found["net/sum"].low == pytest.approx(values.min())
    assert found["net/relu"].low == 0
    assert found["net/relu"].high == pytest.approx(values.max())
    assert found["net/relu"].zeros == np.sum(values <= 0)


def test_the_batch_size_does_not_matter(engine, images):
    single = [image[None] for batch in images for image in batch]
    assert_same(collect(engine, OUTPUTS, of(single)), collect(engine, OUTPUTS, of(images)))


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError("card full"), GeneratorExit(), UsageError("odd image.")]
)
@pytest.mark.parametrize("after", [1, 4, 9])
def test_an_interrupted_run_goes_on_where_it_stopped(engine, images, tmp_path, error, after):
    state = tmp_path / "new" / "state"
    with pytest.raises(type(error)) as caught:
        collect(engine, OUTPUTS, failing(images, after, error), state=state, key="k")
    assert caught.value is error
    assert [p.name for p in state.parent.iterdir()] == ["state"]
    starts = []

    def source(start):
        starts.append(start)
        return images[start:]

    assert_same(collect(engine, OUTPUTS, source, state=state, key="k"), collect(engine, OUTPUTS, of(images)))
    assert starts == [after]
    assert not list(state.parent.iterdir())


def test_an_interrupt_during_the_run_loses_only_that_batch(engine, images, tmp_path):
    class Interrupted:
        inputs, outputs = engine.inputs, engine.outputs
        left = 5

        def run(self, feed):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return engine.run(feed)

    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        collect(Interrupted(), OUTPUTS, of(images), state=state, key="k")
    starts = []
    resumed = collect(engine, OUTPUTS, lambda start: starts.append(start) or images[start:], state=state, key="k")
    assert starts == [4]
    assert_same(resumed, collect(engine, OUTPUTS, of(images)))


def test_a_signal_in_the_middle_of_counting_keeps_the_batches_whole(engine, images, tmp_path, monkeypatch):
    counted = collector._Progress.add

    def interrupting(progress, values, count):
        if progress.batches == 3:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.05)
        counted(progress, values, count)

    state = tmp_path / "state"
    monkeypatch.setattr(collector._Progress, "add", interrupting)
    with pytest.raises(KeyboardInterrupt):
        collect(engine, OUTPUTS, of(images), state=state, key="k")
    monkeypatch.undo()
    starts = []
    resumed = collect(engine, OUTPUTS, lambda start: starts.append(start) or images[start:], state=state, key="k")
    assert starts[0] >= 4
    assert_same(resumed, collect(engine, OUTPUTS, of(images)))


def test_a_killed_run_leaves_what_it_saved_last(engine, images, tmp_path, saving_often):
    state = tmp_path / "state"
    copies = []

    def source(start):
        for batch in images:
            copies.append(state.read_bytes() if state.exists() else None)
            yield batch

    whole = collect(engine, OUTPUTS, source, state=state, key="k")
    assert copies[-1] is not None
    state.write_bytes(copies[-1])
    starts = []
    assert_same(
        collect(engine, OUTPUTS, lambda start: starts.append(start) or images[start:], state=state, key="k"), whole
    )
    assert starts[0] > 0
    assert starts[0] % 2 == 0


@pytest.mark.parametrize(("key", "outputs"), [("other", OUTPUTS), ("k", {"positive": "net/relu"})])
def test_another_run_s_state_is_not_used(engine, images, tmp_path, key, outputs):
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        collect(engine, OUTPUTS, failing(images, 4, KeyboardInterrupt()), state=state, key="k")
    assert_same(collect(engine, outputs, of(images), state=state, key=key), collect(engine, outputs, of(images)))


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    at = len(content) // 3
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped, lambda _: b"", lambda _: b"not a state"])
def test_a_damaged_state_is_named_and_replaced(engine, images, tmp_path, caplog, damage):
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        collect(engine, OUTPUTS, failing(images, 4, KeyboardInterrupt()), state=state, key="k")
    state.write_bytes(damage(state.read_bytes()))
    with caplog.at_level(logging.WARNING):
        found = collect(engine, OUTPUTS, of(images), state=state, key="k")
    assert "calibration state must be whole" in caplog.text
    assert str(state) in caplog.text
    assert_same(found, collect(engine, OUTPUTS, of(images)))


def test_a_state_of_other_arrays_is_replaced(engine, images, tmp_path, caplog):
    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        collect(engine, OUTPUTS, failing(images, 4, KeyboardInterrupt()), state=state, key="k")
    with np.load(state) as saved:
        whole = dict(saved)
    changes = [{"counts": whole["counts"][:, :100]}, {"counts": whole["counts"].astype(np.float64)}]
    changes += [{"counts": whole["counts"][:1]}, {"ranges": whole["ranges"][:, :2]}, {"done": np.zeros(3)}]
    for change in changes:
        with state.open("wb") as stream:
            np.savez(stream, **{**whole, **change})
        assert_same(collect(engine, OUTPUTS, of(images), state=state, key="k"), collect(engine, OUTPUTS, of(images)))
    assert caplog.text.count("calibration state must be whole") == len(changes)


def test_a_bare_array_is_no_state(engine, images, tmp_path, caplog):
    np.save(tmp_path / "state.npy", np.zeros(3))
    collect(engine, OUTPUTS, of(images), state=tmp_path / "state.npy", key="k")
    assert "calibration state must be whole" in caplog.text


def test_a_folder_is_no_state(engine, images, tmp_path):
    with pytest.raises(UsageError, match="must be a file, got the folder"):
        collect(engine, OUTPUTS, of(images), state=tmp_path)


def test_a_state_that_cannot_be_written_does_not_hide_the_error(engine, images, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyboardInterrupt):
        collect(engine, OUTPUTS, failing(images, 4, KeyboardInterrupt()), state=tmp_path / "file" / "state")
    assert "what is finished is lost" in caplog.text


def test_nan_names_the_tensor_and_is_not_saved(engine, images, tmp_path):
    images[5][0, 0, 0, 0] = -1
    with pytest.raises(UsageError, match="activation 'net/sum' must be finite, got NaN"):
        collect(engine, OUTPUTS, of(images), state=tmp_path / "state")
    assert not list(tmp_path.iterdir())


def test_a_batch_that_does_not_fit_is_the_engine_s_to_refuse(engine):
    with pytest.raises(UsageError, match="input 'input' must be float32"):
        collect(engine, OUTPUTS, of([np.zeros((2, 3, 9, 9), np.float32)]))


def test_an_output_the_graph_lacks_is_named(engine, images):
    with pytest.raises(UsageError, match="tap must be an output of the graph, got 'nowhere'"):
        collect(engine, {"nowhere": "x"}, of(images))


def test_no_images_are_an_error(engine):
    with pytest.raises(UsageError, match="at least one image, got none"):
        collect(engine, OUTPUTS, of([]))
