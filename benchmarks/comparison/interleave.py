"""Interleaved timing of several contenders, and a script in a process of its own with its time and peak memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.benchmark.timing import Clock, time_interleaved, warm_up

_LAUNCHER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run([sys.executable, "-c", *sys.argv[1:]], capture_output=True, text=True, check=False)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(json.dumps({"status": done.returncode, "out": done.stdout, "err": done.stderr, "mib": peak, "seconds": seconds}))
"""
"""A small process between: the peak of a child starts at that of its parent, and ours has torch loaded."""


@dataclass(frozen=True)
class ScriptOutput:
    """What a script printed as JSON, its duration, and its largest resident set."""

    values: dict[str, Any]
    seconds: float
    peak_mib: float

    def row(self) -> dict[str, Any]:
        """Return the values with `seconds` and `peak_gib`."""
        return self.values | {"seconds": self.seconds, "peak_gib": self.peak_mib / 1024}


def run_script(
    script: str, *words: str, python: str = sys.executable, environment: Mapping[str, str] | None = None
) -> ScriptOutput:
    """Run Python code in a fresh interpreter; lines of its output that begin with "{" are JSON.

    Raises:
        RuntimeError: the script failed; the message has the last line of its stderr.
    """
    variables = os.environ | {"TQDM_DISABLE": "1"} | dict(environment or {})
    launcher = [python, "-c", _LAUNCHER, script, *words]
    launched = subprocess.run(launcher, capture_output=True, text=True, check=True, env=variables)
    done = json.loads(launched.stdout)
    if done["status"]:
        last = (done["err"].strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"process must end well, got status {done['status']}: {last}")
    values: dict[str, Any] = {}
    for line in done["out"].splitlines():
        if line.startswith("{"):
            values |= json.loads(line)
    return ScriptOutput(values, done["seconds"], done["mib"])


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
    samples = time_interleaved(
        list(calls.values()), seconds=each, warm_ups=warm, single_calls=True, clock=clock, sleep=sleep
    )
    return {name: [round(taken, 7) for taken in times] for name, times in zip(calls, samples, strict=True)}


def ratio(theirs: list[float], ours: list[float]) -> float:
    """Return the median ratio over figures of the same round; above 1, ours is faster."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))
