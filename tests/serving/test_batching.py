"""Batches: of what waits, of one shape, within the artifact's range, and never for a client that left."""

import threading
import types

import numpy as np
import pytest

from hrnet_deploy.errors import DeviceError
from hrnet_deploy.serving.batching import AbandonedError, Batcher, Job, Ticket


class Model:
    """A predictor that waits in its first inference until the test lets it run, and records every batch."""

    def __init__(self, streams=1, least=1, fails=lambda batch: False):
        spec = types.SimpleNamespace(dtype="float32")
        self.card = types.SimpleNamespace(inputs=(spec,), least_batch=least)
        self.streams, self.fails = streams, fails
        self.entered, self.go_on = threading.Semaphore(0), threading.Event()
        self.batches = []

    def infer(self, batch):
        self.entered.release()
        assert self.go_on.wait(20)
        self.batches.append(batch.shape)
        if self.fails(batch):
            raise DeviceError("no memory")
        return {"out": batch.reshape(len(batch), -1)[:, 0] * 2}


class Requests:
    """Jobs and their outcomes."""

    def __init__(self, batcher):
        self.batcher, self.outcomes, self.events = batcher, {}, {}

    def add(self, value, size=2, rows=1, **options):
        self.events[value] = threading.Event()
        ticket = Ticket()

        def done(outcome):
            assert value not in self.outcomes, "done twice"
            self.outcomes[value] = outcome
            self.events[value].set()

        self.batcher.submit(Job([np.full(size, value, np.float32)] * rows, ticket, done), **options)
        return ticket

    def value(self, key):
        assert self.events[key].wait(20)
        outcome = self.outcomes[key]
        return outcome if isinstance(outcome, Exception) else float(outcome.outputs["out"][outcome.first])


@pytest.fixture
def start():
    """(model, options) -> requests to a batcher of the model; its first batch, of the value 0, is being computed."""
    batchers = []

    def begin(model, *, max_batch=4, wait_s=0.0):
        batcher = Batcher(model, max_batch=max_batch, wait_s=wait_s, count_batch=lambda _: None)
        batchers.append((batcher, model))
        requests = Requests(batcher)
        for index in range(model.streams):
            requests.add(-index)
        for _ in range(model.streams):
            assert model.entered.acquire(timeout=20)
        return requests

    yield begin
    for batcher, model in batchers:
        model.go_on.set()
        batcher.close()


def test_a_batch_takes_what_waits_up_to_its_size(start):
    model = Model()
    requests = start(model)
    for value in range(1, 8):
        requests.add(value)
    assert requests.batcher.waiting == 7
    model.go_on.set()
    assert [requests.value(value) for value in range(8)] == [2.0 * value for value in range(8)]
    assert model.batches == [(1, 2), (4, 2), (3, 2)]


def test_a_batch_has_one_shape_and_the_oldest_goes_first(start):
    model = Model()
    requests = start(model)
    for value, size in ((1, 3), (2, 5), (3, 3), (4, 5), (5, 3)):
        requests.add(value, size)
    model.go_on.set()
    assert [requests.value(value) for value in range(1, 6)] == [2, 4, 6, 8, 10]
    assert model.batches == [(1, 2), (3, 3), (2, 5)]


def test_jobs_with_several_rows_are_not_divided(start):
    model = Model()
    requests = start(model)
    for value, rows in ((1, 3), (2, 2), (3, 9)):
        requests.add(value, rows=rows)
    model.go_on.set()
    assert [requests.value(value) for value in (1, 2, 3)] == [2, 4, 6]
    assert [shape[0] for shape in model.batches] == [1, 3, 2, 9]


def test_each_free_stream_gets_a_share(start):
    model = Model(streams=2)
    requests = start(model)
    model.go_on.set()
    assert (requests.value(0), requests.value(-1)) == (0, -2)
    while requests.batcher._free < 2:
        pass
    with requests.batcher._changed:  # all at once
        for value in range(1, 5):
            requests.add(value)
    assert [requests.value(value) for value in range(1, 5)] == [2, 4, 6, 8]
    requests.batcher.close()
    later = [shape[0] for shape in model.batches[2:]]
    assert (max(later), sum(later)) == (2, 4)


def test_the_smallest_batch_of_the_artifact_is_filled_up(start):
    model = Model(least=4)
    requests = start(model)
    model.go_on.set()
    assert requests.value(0) == 0
    assert model.batches == [(4, 2)]


def test_an_abandoned_job_is_not_computed(start):
    model = Model()
    requests = start(model)
    tickets = [requests.add(value) for value in range(1, 4)]
    tickets[1].abandoned = True
    model.go_on.set()
    assert (requests.value(1), requests.value(3)) == (2, 6)
    assert isinstance(requests.value(2), AbandonedError)
    assert model.batches == [(1, 2), (2, 2)]


def test_a_batch_that_fails_is_run_image_by_image(start):
    model = Model(fails=lambda batch: len(batch) > 1 or batch[0, 0] == 2)
    requests = start(model)
    for value in range(1, 4):
        requests.add(value)
    model.go_on.set()
    assert (requests.value(1), requests.value(3)) == (2, 6)
    assert isinstance(requests.value(2), DeviceError)


def test_a_failing_handover_does_not_end_the_stream(start, caplog):
    model = Model()
    requests = start(model)

    def fail(_):
        raise ValueError("in the test")

    requests.batcher.submit(Job([np.zeros(2, np.float32)], Ticket(), fail))
    requests.add(5)
    model.go_on.set()
    assert requests.value(5) == 10
    assert "could not be handed over" in caplog.text


def test_closing_finishes_what_waits(start):
    model = Model()
    requests = start(model)
    for value in range(1, 10):
        requests.add(value)
    model.go_on.set()
    requests.batcher.close()
    assert len(requests.outcomes) == 10


def test_the_caller_runs_a_job_where_a_stream_is_free(start):
    model = Model()
    requests = start(model)
    requests.add(1, may_run=True)  # the stream is busy, so it waits
    model.go_on.set()
    assert (requests.value(0), requests.value(1)) == (0, 2)
    seen = []
    model.infer = lambda batch: seen.append(threading.current_thread()) or {"out": batch[:, 0]}
    deadline = 2000
    while not seen and deadline:  # the stream frees itself just after its result
        requests.add(100 + deadline, may_run=True)
        deadline -= 1
        if seen and seen[0] is not threading.current_thread():
            seen.clear()
    assert seen == [threading.current_thread()]


def test_a_requested_wait_fills_a_batch(start):
    model = Model()
    requests = start(model, wait_s=5.0, max_batch=2)
    model.go_on.set()
    assert requests.value(0) == 0
    requests.add(1)
    requests.add(2)
    assert (requests.value(1), requests.value(2)) == (2, 4)
    assert model.batches[-1] == (2, 2)
