"""Calls that take turns, so that a machine that drifts does so for all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Call = Callable[[], Any]
Times = dict[str, list[float]]
"""Seconds a call took, one figure a round, by contender; all lists are of one length."""

_LEAST_ROUNDS = 3
_PATIENCE = 4
_PAUSE_S = 0.1
_FAST_S = 0.3
_TURN_S = 0.2


def in_turns(
    calls: Mapping[str, Call], *, seconds: float, least: int = _LEAST_ROUNDS, pause_s: float = _PAUSE_S
) -> Times:
    """Time calls that have been made once already: A B C C B A A B C ...

    Args:
        calls: by contender.
        seconds: to spend on all of them together, about.
        least: rounds to make however long they take, unless four times `seconds` are over.
        pause_s: before each turn.

    Returns:
        One figure a round for each call, at least one.
    """
    times: Times = {name: [] for name in calls}
    order = list(calls)
    began = time.perf_counter()
    rounds = 0
    while order:
        for name in order:
            times[name].append(round(_turn(calls[name], pause_s), 7))
        order.reverse()
        rounds += 1
        spent = time.perf_counter() - began
        if spent >= seconds and (rounds >= least or spent >= _PATIENCE * seconds):
            break
    return times


def ratio(theirs: list[float], ours: list[float]) -> float:
    """Median of the ratios of figures from the same round.

    Args:
        theirs: seconds, one a round.
        ours: seconds, one a round.

    Returns:
        Theirs over ours: above 1 ours is faster.
    """
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def _turn(call: Call, pause_s: float) -> float:
    """One contender's turn.

    The threads of ONNX Runtime and OpenMP (torch) go on spinning for tens of milliseconds when a call is done, and take
    the cores from whoever comes next: hence the pause. A fast call is then made once uncounted, which wakes its own
    threads and brings back into the caches what the others pushed out, and as often as fits into a fifth of a second.
    """
    time.sleep(pause_s)
    first = _seconds(call)
    if first >= _FAST_S:
        return first
    counted = [_seconds(call)]
    while sum(counted) + counted[-1] < _TURN_S:
        counted.append(_seconds(call))
    return statistics.median(counted)


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
