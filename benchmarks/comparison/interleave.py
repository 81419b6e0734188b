"""Interleaved timing of several contenders, one median a round, so that figures of one round can be paired."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hrnet_deploy.benchmark.timing import Clock, WarmUp, take_turns, warm_up

Call = Callable[[], Any]
Times = dict[str, list[float]]
"""Seconds of a call, one median a round, by contender; all lists have the same length."""

_REST_S = 0.1
"""Threads of ONNX Runtime and OpenMP spin for tens of milliseconds after a call and would slow the next contender."""
_FAST_S = 0.3
"""Slower calls are not warmed up any further."""


def time_rounds(
    calls: Mapping[str, Call],
    *,
    seconds: float,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> Times:
    """Time contenders, interleaved, for about so many seconds in total."""
    turns = 0

    def rest(_seconds: float) -> None:
        nonlocal turns
        turns += 1
        sleep(_REST_S)

    warm = [_warm(call, clock) for call in calls.values()]
    count = max(len(calls), 1)
    samples = take_turns(list(calls.values()), seconds=seconds / count, warm=warm, clock=clock, sleep=rest)
    rounds = turns // count  # a contender that is alone has no rest, and nothing to pair
    by_round = [np.reshape(taken, (rounds or len(taken), -1)) for taken in samples]
    medians = [[round(float(value), 7) for value in np.median(taken, axis=1)] for taken in by_round]
    return dict(zip(calls, medians, strict=True))


def ratio(theirs: list[float], ours: list[float]) -> float:
    """Return the median ratio over figures of the same round; above 1, ours is faster."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def _warm(call: Call, clock: Clock) -> WarmUp:
    start = clock()
    call()
    first = clock() - start
    if first >= _FAST_S:
        return WarmUp(runs=1, stable=False, median_s=first)
    return warm_up(call, limit_s=_FAST_S, clock=clock)
