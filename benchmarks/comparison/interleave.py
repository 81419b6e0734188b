"""Interleaved timing of several contenders, one figure a round, so that figures of one round can be paired."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from hrnet_deploy.benchmark.timing import Clock, time_interleaved, warm_up

Call = Callable[[], Any]
Times = dict[str, list[float]]
"""Seconds of a call, one figure a round, by contender; all lists have the same length."""

_WARM_UP_S = 0.3


def time_rounds(
    calls: Mapping[str, Call],
    *,
    seconds: float,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> Times:
    """Time contenders, interleaved, for about so many seconds in total, but in five rounds or more."""
    warm = [warm_up(call, limit_s=_WARM_UP_S, clock=clock) for call in calls.values()]
    each = seconds / max(len(calls), 1)
    samples = time_interleaved(list(calls.values()), seconds=each, warm=warm, singly=True, clock=clock, sleep=sleep)
    return {name: [round(taken, 7) for taken in times] for name, times in zip(calls, samples, strict=True)}


def ratio(theirs: list[float], ours: list[float]) -> float:
    """Return the median ratio over figures of the same round; above 1, ours is faster."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
