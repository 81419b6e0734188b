"""Executors by name and as objects: every chunk once, whatever is lost on the way; errors are one line."""

import functools
import math
import os
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from hrnet_deploy.errors import DeviceError, ImageError
from hrnet_deploy.executors import chunks, open_executor, run_chunks, worker_count, worker_threads
from hrnet_deploy.system.cores import cores


class LossyExecutor(Executor):
    """Runs work at once, but loses the first `losses` results, as a cluster does whose node goes away."""

    def __init__(self, losses):
        self.losses = losses

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        if self.losses:
            self.losses -= 1
            future.set_exception(RuntimeError("node\nwas removed"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def refuse(name):
    raise ImageError(f"image {name} cannot be read.")


def threads_of(_chunk):
    return os.getpid(), worker_threads(), os.environ.get("OMP_NUM_THREADS")


@pytest.mark.parametrize("name", [None, "processes:2"])
def test_every_chunk_runs_once(name):
    with open_executor(name) as executor:
        found = list(run_chunks(executor, math.factorial, range(20)))
    assert sorted(found) == [(number, math.factorial(number)) for number in range(20)]


@pytest.mark.parametrize("workers", [1, 3])
def test_chunks_are_drawn_as_workers_become_free(workers):
    drawn, started = [], threading.Event()

    def chunks():
        for number in range(30):
            drawn.append(number)
            yield number

    with ThreadPoolExecutor(workers) as pool:
        for count, (_, result) in enumerate(run_chunks(pool, str, chunks(), in_flight=4), start=1):
            assert len(drawn) <= count + 4
            assert result in map(str, drawn)
            started.set()
    assert started.is_set()
    assert drawn == list(range(30))


def test_an_object_is_used_and_stays_open():
    with ThreadPoolExecutor(2) as pool:
        with open_executor(pool) as executor:
            assert executor is pool
            assert dict(run_chunks(executor, abs, [-1, -2])) == {0: 1, 1: 2}
        assert pool.submit(abs, -3).result() == 3


@pytest.mark.parametrize("losses", [1, 5])
def test_lost_work_runs_again(losses):
    assert dict(run_chunks(LossyExecutor(losses), str, range(4))) == {number: str(number) for number in range(4)}


def test_work_that_is_always_lost_is_an_error():
    with pytest.raises(DeviceError, match=r"^executor must keep its workers, got: node was removed\. Run again"):
        list(run_chunks(LossyExecutor(1000), str, range(4)))


def test_a_broken_pool_is_an_error():
    with (
        open_executor("processes:2") as executor,
        pytest.raises(DeviceError, match=r"^executor must keep its workers, got: .*terminated abruptly.* Run again"),
    ):
        list(run_chunks(executor, os._exit, [1, 1]))


def test_a_closed_executor_is_an_error():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(DeviceError, match=r"got: cannot schedule new futures after shutdown\. Run again"):
        list(run_chunks(pool, str, [1]))


@pytest.mark.parametrize(("work", "kind"), [(refuse, ImageError), (math.factorial, ValueError)])
def test_errors_of_the_work_are_its_own_and_not_tried_again(work, kind):
    calls = []

    def counted(chunk):
        calls.append(chunk)
        return work(chunk)

    with ThreadPoolExecutor(1) as pool, pytest.raises(kind) as caught:
        list(run_chunks(pool, counted, [-1]))
    assert calls == [-1]
    assert (caught.value.__cause__ is None) == (kind is ImageError)


def test_closing_the_iterator_cancels_what_waits():
    release = threading.Event()
    started = []

    def wait(chunk):
        started.append(chunk)
        release.wait(10 if chunk else 0)

    with ThreadPoolExecutor(1) as pool:
        results = run_chunks(pool, wait, range(50), in_flight=20)
        next(results)
        results.close()
        release.set()
    assert len(started) <= 3


def test_processes_share_the_cores():
    with open_executor("processes:2") as executor:
        found = [result for _, result in run_chunks(executor, threads_of, range(8))]
    pids, threads, environment = (set(column) for column in zip(*found, strict=True))
    assert os.getpid() not in pids
    assert threads == {max(1, cores() // 2)}
    assert environment == {os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // 2)))}
    assert worker_threads() is None


def test_an_executor_of_unknown_size():
    with ThreadPoolExecutor(3) as pool:
        assert worker_count(pool) == 3
    assert worker_count(LossyExecutor(0)) > 1
    assert dict(run_chunks(LossyExecutor(0), threads_of, [0])) == {0: (*threads_of(0)[:1], 1, *threads_of(0)[2:])}


def interrupted():
    with open_executor("processes:2") as executor:
        next(run_chunks(executor, time.sleep, [0, 60, 60, 60, 60]))
        raise KeyboardInterrupt


def test_an_interrupt_ends_processes_at_once():
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.perf_counter() - start < 20


def test_a_long_silence_is_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(chunks, "_QUIET_S", 0.05)
    with ThreadPoolExecutor(1) as pool:
        assert list(run_chunks(pool, time.sleep, [0.2])) == [(0, None)]
    assert "no chunk has finished" in caplog.text


def test_slow_chunks_do_not_hold_back_the_others():
    work = functools.partial(time.sleep)
    with ThreadPoolExecutor(2) as pool:
        order = [position for position, _ in run_chunks(pool, work, [0.3, 0, 0, 0])]
    assert order[-1] == 0
