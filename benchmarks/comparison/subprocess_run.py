"""A script in a process of its own, and the most memory it held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LAUNCHER = """
import json, resource, subprocess, sys
done = subprocess.run([sys.executable, "-c", *sys.argv[1:]], capture_output=True, text=True, check=False)
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(json.dumps({"status": done.returncode, "out": done.stdout, "err": done.stderr, "mib": most}))
"""
"""A small process between: a child's peak starts from that of its parent, and ours has torch loaded."""


@dataclass(frozen=True)
class Answer:
    """What came of a script.

    Attributes:
        values: what it printed as JSON.
        peak_mib: its largest resident set.
    """

    values: dict[str, Any]
    peak_mib: float


def child(script: str, *words: str, environment: Mapping[str, str] | None = None) -> Answer:
    """Run a script in a fresh interpreter.

    Args:
        script: Python; a line that it prints and that begins with "{" is JSON.
        words: its arguments.
        environment: variables of its own.

    Returns:
        Its answer.

    Raises:
        RuntimeError: it failed; with the last line it wrote to stderr.
    """
    variables = os.environ | {"TQDM_DISABLE": "1"} | dict(environment or {})
    launcher = [sys.executable, "-c", _LAUNCHER, script, *words]
    launched = subprocess.run(launcher, capture_output=True, text=True, check=True, env=variables)
    done = json.loads(launched.stdout)
    if done["status"]:
        last = (done["err"].strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"process must end well, got status {done['status']}: {last}")
    values: dict[str, Any] = {}
    for line in done["out"].splitlines():
        if line.startswith("{"):
            values |= json.loads(line)
    return Answer(values, done["mib"])
