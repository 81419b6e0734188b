"""Timers and statistics: warm-up, interleaved timing of several calls, percentiles, and throughput of threads."""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

Call = Callable[[], object]
Clock = Callable[[], float]
"""Seconds, as time.perf_counter."""

LONGEST_WARM_UP_S = 10.0
"""Limit of a warm-up; a call that has not settled by then will not."""
_WINDOW = 5
_STABLE_WITHIN = 0.05
_TURN_S = 0.05
_COLD_BELOW_S = 0.05
_REST_S = 0.05
_SAMPLES_FOR = {95: 20, 99: 100}
_MIN_SAMPLES = 5
_MIN_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Statistics of a call's duration.

    Attributes:
        samples: number of timed calls.
        p95_ms: 95th percentile; None for fewer than 20 samples.
        p99_ms: 99th percentile; None for fewer than 100 samples.
    """

    samples: int
    median_ms: float
    mean_ms: float
    min_ms: float
    p95_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Summarize samples in seconds, at least one; percentiles are interpolated as numpy.percentile does."""
        taken = 1e3 * np.asarray(seconds, np.float64)
        p95, p99 = (
            float(np.percentile(taken, percent)) if len(taken) >= needed else None
            for percent, needed in _SAMPLES_FOR.items()
        )
        median, mean, fastest = float(np.median(taken)), float(taken.mean()), float(taken.min())
        return cls(samples=len(taken), median_ms=median, mean_ms=mean, min_ms=fastest, p95_ms=p95, p99_ms=p99)


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """The uncounted calls, the median of the last ones, and whether those took as long as the ones before."""

    runs: int
    stable: bool
    median_s: float


def warm_up(call: Call, *, limit_s: float, clock: Clock = time.perf_counter) -> WarmUp:
    """Repeat a call, three times or more, until two windows of five calls take equally long or the time is over."""
    began = clock()
    times: list[float] = []
    while True:
        start = clock()
        call()
        end = clock()
        times.append(end - start)
        last = statistics.median(times[-_WINDOW:])
        if len(times) >= 2 * _WINDOW:
            before = statistics.median(times[-2 * _WINDOW : -_WINDOW])
            if abs(last - before) <= _STABLE_WITHIN * before:
                return WarmUp(runs=len(times), stable=True, median_s=last)
        if end - began >= limit_s and len(times) >= 3:
            return WarmUp(runs=len(times), stable=False, median_s=last)


def time_interleaved(
    calls: Sequence[Call],
    *,
    seconds: float,
    warm_ups: Sequence[WarmUp],
    single_calls: bool = False,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> list[list[float]]:
    """Time several calls in turns, A B C C B A A B C ..., so that a drifting machine affects all of them equally.

    Every other round runs backwards, because one call's heat and turbo state affect its successor. All turns take about
    the same time: 50 ms, or one call of the slowest. With `single_calls` a turn is one call, for a busy machine, where
    several fast calls fit between two interruptions and a slow one does not. (Speed-up 1.8 on an idle machine; beside
    four busy processes on two cores 1.2 to 1.8 with single calls, 1.2 to 18 in longer turns.) `seconds` is the time for
    each, rests included; each is timed at least five times.

    Returns:
        Seconds of each timed call, per call.
    """
    samples: list[list[float]] = [[] for _ in calls]
    medians = [max(state.median_s, _MIN_S) for state in warm_ups]
    turn = max(_TURN_S, *medians) if medians else _TURN_S
    # Fixed beforehand, so that a slow spell does not cost one call more samples than another.
    counts = [1 if single_calls else max(1, round(turn / median)) for median in medians]
    # With single calls, all make the same number of calls per turn, because their inputs may rotate.
    cold = [len(calls) > 1 and (min(medians) if single_calls else median) < _COLD_BELOW_S for median in medians]
    spent = 0.0
    order = list(enumerate(calls))
    with _no_garbage_collection():
        while calls and (spent < seconds * len(calls) or min(map(len, samples)) < _MIN_SAMPLES):
            began = clock()
            for index, call in order:
                if len(calls) > 1:
                    sleep(_REST_S)  # threads of the previous call's runtime keep spinning for a while
                if cold[index]:
                    call()  # refills the caches
                for _ in range(counts[index]):
                    start = clock()
                    call()
                    samples[index].append(clock() - start)
            spent += clock() - began
            order.reverse()
    return samples


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """The throughput of several threads that share one engine: finished calls, wall time, and the time of a call."""

    streams: int
    runs: int
    seconds: float
    latency: Latency

    @property
    def runs_per_second(self) -> float:
        """Throughput of all threads together."""
        return self.runs / self.seconds


def measure_throughput(calls: Sequence[Call], *, seconds: float, clock: Clock = time.perf_counter) -> Throughput:
    """Repeat each call in its own thread, all at once; none starts another call after so many seconds."""
    start_line = threading.Barrier(len(calls) + 1)

    def work(call: Call) -> list[float]:
        own: list[float] = []
        start_line.wait()
        deadline = clock() + seconds
        while not own or clock() < deadline:
            began = clock()
            call()
            own.append(clock() - began)
        return own

    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(work, call) for call in calls]
        start_line.wait()
        began = clock()
        wait(running)
        ended = clock()
    flat = [value for own in running for value in own.result()]
    return Throughput(streams=len(calls), runs=len(flat), seconds=ended - began, latency=Latency.of(flat))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect garbage before the samples instead of during one."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
