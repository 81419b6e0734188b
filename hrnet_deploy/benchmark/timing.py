"""Clocks and statistics: warm-up, turns that several calls take, percentiles, and threads that share one engine."""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

Call = Callable[[], object]
Clock = Callable[[], float]
"""Seconds, as time.perf_counter."""

LONGEST_WARM_UP_S = 10.0
"""After that a call that has not settled will not."""
_WINDOW = 5
_STABLE_WITHIN = 0.05
_TURN_S = 0.05
_COLD_BELOW_S = 0.05
_REST_S = 0.05
_SAMPLES_FOR = {95: 20, 99: 100}
_LEAST_SAMPLES = 5
_LEAST_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long a call takes.

    Attributes:
        samples: how many were timed.
        median_ms: half are faster.
        mean_ms: of all.
        min_ms: the fastest.
        p95_ms: 95 % are faster; None for fewer than 20 samples, which cannot tell.
        p99_ms: 99 % are faster; None for fewer than 100 samples.
    """

    samples: int
    median_ms: float
    mean_ms: float
    min_ms: float
    p95_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Summarise samples.

        Args:
            seconds: one a call, at least one.

        Returns:
            The summary; percentiles are interpolated as numpy.percentile does.
        """
        milliseconds = 1e3 * np.asarray(seconds, np.float64)
        tails = {
            percent: float(np.percentile(milliseconds, percent)) if len(milliseconds) >= needed else None
            for percent, needed in _SAMPLES_FOR.items()
        }
        return cls(
            samples=len(milliseconds),
            median_ms=float(np.median(milliseconds)),
            mean_ms=float(milliseconds.mean()),
            min_ms=float(milliseconds.min()),
            p95_ms=tails[95],
            p99_ms=tails[99],
        )


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """What came before the samples.

    Attributes:
        runs: calls that were not counted.
        stable: the last ones took as long as those before, within 5 %.
        median_s: of the last few.
    """

    runs: int
    stable: bool
    median_s: float


def warm_up(call: Call, *, limit_s: float, clock: Clock = time.perf_counter) -> WarmUp:
    """Call until two windows of five calls take equally long, or the time is over.

    Args:
        call: what will be timed.
        limit_s: give up after that many seconds, but not before three calls.
        clock: seconds.

    Returns:
        What it took.
    """
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
    warm: Sequence[WarmUp],
    singly: bool = False,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> list[list[float]]:
    """Time several calls in turns, A B C C B A A B C ..., so that a machine that drifts does so for all of them alike.

    Every other round goes backwards: what one call leaves behind (heat, a worn turbo) does not always fall on the same
    one. All turns take about as long: 50 ms, or one call of the slowest. How many calls that are is settled beforehand,
    for a slow spell must not lower the number of samples of one call more than that of another. A fast call's turn
    begins with one that is not counted: it brings back into the caches what the others pushed out. Before every turn
    there is a rest, for threads of runtimes go on for a while when a call is done: right after a call of ONNX Runtime
    the next took up to twice as long.

    Args:
        calls: what to time.
        seconds: to spend on each, about, rests included; each is timed at least five times.
        warm: of each call.
        singly: in every turn one call counts, as suits a busy machine: several fast calls fit between two
            interruptions, a slow one does not, which flatters the fast. (A net 1.8 times as fast at rest, beside four
            busy processes on two cores: 1.2 to 1.8 in turns of one call, 1.2 to 18 in longer ones.)
        clock: seconds.
        sleep: rests for so many seconds.

    Returns:
        Seconds a call took, for each call.
    """
    samples: list[list[float]] = [[] for _ in calls]
    medians = [max(state.median_s, _LEAST_S) for state in warm]
    turn = max(_TURN_S, *medians) if medians else _TURN_S
    counts = [1 if singly else max(1, round(turn / median)) for median in medians]
    # Singly, all make as many calls a turn: what they are called on may go round.
    cold = [len(calls) > 1 and (min(medians) if singly else median) < _COLD_BELOW_S for median in medians]
    spent = 0.0
    order = list(enumerate(calls))
    with _no_collection():
        while calls and (spent < seconds * len(calls) or min(map(len, samples)) < _LEAST_SAMPLES):
            began = clock()
            for index, call in order:
                if len(calls) > 1:
                    sleep(_REST_S)
                if cold[index]:
                    call()
                for _ in range(counts[index]):
                    start = clock()
                    call()
                    samples[index].append(clock() - start)
            spent += clock() - began
            order.reverse()
    return samples


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """What several threads get out of one engine.

    Attributes:
        streams: threads.
        runs: calls that ended.
        seconds: wall time.
        latency: of single calls, as each thread saw them.
    """

    streams: int
    runs: int
    seconds: float
    latency: Latency

    @property
    def runs_per_second(self) -> float:
        """Throughput of all threads together."""
        return self.runs / self.seconds


def measure_throughput(calls: Sequence[Call], *, seconds: float, clock: Clock = time.perf_counter) -> Throughput:
    """Run one call in each of several threads at once.

    Args:
        calls: one a thread.
        seconds: after that no thread begins another call.
        clock: seconds.

    Returns:
        What was reached between the common start and the end of the last call.

    Raises:
        Exception: the first that a thread met.
    """
    start_line = threading.Barrier(len(calls) + 1)
    times: list[list[float]] = [[] for _ in calls]
    failures: list[BaseException] = []

    def work(call: Call, own: list[float]) -> None:
        start_line.wait()
        deadline = clock() + seconds
        try:
            while not own or clock() < deadline:
                began = clock()
                call()
                own.append(clock() - began)
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(call, own), daemon=True) for call, own in zip(calls, times, strict=True)
    ]
    for thread in threads:
        thread.start()
    start_line.wait()
    began = clock()
    for thread in threads:
        thread.join()
    ended = clock()
    if failures:
        raise failures[0]
    flat = [value for own in times for value in own]
    return Throughput(streams=len(calls), runs=len(flat), seconds=ended - began, latency=Latency.of(flat))


@contextmanager
def _no_collection() -> Iterator[Any]:
    """A collection of garbage in the middle of a sample would be blamed on the net."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
