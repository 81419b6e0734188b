"""Statistics against numpy, turns by a clock that is told what to say, and threads that share a call."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.benchmark.timing import Latency, WarmUp, measure_throughput, time_interleaved, warm_up


class Clock:
    """A clock that calls move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def call(self, seconds, log=None, name=""):
        times = iter(seconds) if not isinstance(seconds, float) else None

        def run():
            self.now += next(times) if times else seconds
            if log is not None:
                log.append(name)

        return run


def warmed(*medians):
    return [WarmUp(runs=3, stable=True, median_s=median) for median in medians]


@pytest.mark.slow
@given(st.lists(st.floats(1e-6, 10), min_size=100, max_size=300))
def test_percentiles_are_numpys(seconds):
    found = Latency.of(seconds)
    ms = np.array(seconds) * 1e3
    assert found.samples == len(seconds)
    for value, expected in (
        (found.median_ms, np.median(ms)),
        (found.mean_ms, ms.mean()),
        (found.min_ms, ms.min()),
        (found.p95_ms, np.percentile(ms, 95)),
        (found.p99_ms, np.percentile(ms, 99)),
    ):
        assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("count", "tails"), [(1, (False, False)), (19, (False, False)), (20, (True, False)), (100, (True, True))]
)
def test_few_samples_have_no_tails(count, tails):
    found = Latency.of([0.1] * count)
    assert (found.p95_ms is not None, found.p99_ms is not None) == tails


@pytest.mark.parametrize(
    ("seconds", "limit", "runs", "stable"),
    [
        ([0.1] * 50, 60, 10, True),
        ([1.0, 0.5] + [0.1] * 50, 60, 10, True),
        ([1.0] * 5 + [0.1] * 50, 60, 13, True),  # the first five have to leave both medians
        ([2.0**-i for i in range(40)], 1.5, 3, False),  # never the same twice, but at least three calls
        ([10.0] * 50, 1.0, 3, False),
        ([10.0] * 50, 1000.0, 10, True),
    ],
)
def test_warm_up_ends_when_times_repeat_or_are_over(seconds, limit, runs, stable):
    clock = Clock()
    found = warm_up(clock.call(seconds), limit_s=limit, clock=clock)
    assert (found.runs, found.stable) == (runs, stable)


def test_turns_alternate_and_every_other_round_goes_backwards():
    clock, log, rests = Clock(), [], []
    calls = [clock.call(0.1, log, name) for name in "ABC"]
    found = time_interleaved(calls, seconds=0.35, warm_ups=warmed(0.1, 0.1, 0.1), clock=clock, sleep=rests.append)
    assert rests == [0.05] * 15
    assert "".join(log) == "ABCCBAABCCBAABC"  # five samples at least
    assert found == [pytest.approx([0.1] * 5)] * 3


def test_a_quick_call_gets_the_same_time_and_so_more_samples():
    clock, log = Clock(), []
    calls = [clock.call(0.2, log, "A"), clock.call(0.01, log, "B")]
    slow, fast = time_interleaved(calls, seconds=2.0, warm_ups=warmed(0.2, 0.01), clock=clock, sleep=lambda _: None)
    assert (len(slow), len(fast)) == (10, 200)
    assert "".join(log) == ("A" + "B" * 42 + "A") * 5  # the first of each turn of B is not counted


def test_single_calls_take_turns_on_a_busy_machine():
    clock, log = Clock(), []
    calls = [clock.call(0.02, log, "A"), clock.call(0.01, log, "B")]
    slow, fast = time_interleaved(
        calls, seconds=0.18, warm_ups=warmed(0.02, 0.01), single_calls=True, clock=clock, sleep=lambda _: None
    )
    assert "".join(log) == "AABBBBAA" * 3  # every second one is not counted
    assert (len(slow), len(fast)) == (6, 6)


def test_one_call_alone_loses_none():
    clock, log = Clock(), []
    (found,) = time_interleaved(
        [clock.call(0.01, log, "A")], seconds=0.19, warm_ups=warmed(0.01), clock=clock, sleep=pytest.fail
    )
    assert len(found) == len(log) == 20


def test_nothing_takes_no_turns():
    assert time_interleaved([], seconds=1.0, warm_ups=[]) == []


def test_a_drift_hits_all_alike():
    """The machine becomes twice as slow in the middle; the ratio stays."""
    clock = Clock()

    def call(seconds):
        def run():
            clock.now += seconds * (2 if clock.now > 5 else 1)

        return run

    a, b = time_interleaved(
        [call(0.1), call(0.05)], seconds=6.0, warm_ups=warmed(0.1, 0.05), clock=clock, sleep=lambda _: None
    )
    assert np.mean(a) / np.mean(b) == pytest.approx(2, rel=0.02)
    assert np.median(a) / np.median(b) == pytest.approx(2, rel=0.02)


def test_streams_run_at_the_same_time():
    running, most = 0, 0
    lock = threading.Lock()

    def call():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    found = measure_throughput([call] * 4, seconds=0.1)
    assert most == 4
    assert found.streams == 4
    assert found.runs == found.latency.samples >= 4
    assert found.runs_per_second == found.runs / found.seconds


def test_what_a_stream_meets_is_raised():
    def fail():
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        measure_throughput([fail, lambda: None], seconds=0.01)
