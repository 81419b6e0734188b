"""A script in a process of its own, with its duration and its peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
