"""Everything that needs an NVIDIA GPU, in one go: the tests marked `gpu`, then each GPU benchmark there is.

    python benchmarks/gpu_suite.py

Installs nothing: run it with an interpreter that has hrnet-deploy[gpu,cuda] and, for engines, TensorRT or TensorRT-RTX.
Prints a table of the machine and of what passed, and writes it with all output to benchmarks/results/gpu_<name>.md.
Exit codes: 0 all passed, 1 something failed, 2 no GPU.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_RESULTS = _ROOT / "benchmarks" / "results"
_PACKAGES = (
    "hrnet-deploy",
    "torch",
    "onnx",
    "onnxruntime-gpu",
    "onnxruntime",
    "tensorrt",
    "tensorrt-cu13",
    "tensorrt-cu12",
    "tensorrt-rtx-cu13",
    "cuda-bindings",
    "pycuda",
)
_QUERY = ("name", "driver_version", "memory.total", "compute_cap")
_TESTS = "tests"


@dataclass(frozen=True)
class Outcome:
    """One step.

    Attributes:
        name: of the step.
        passed: whether it ended well.
        seconds: how long it took.
        summary: its last line.
        output: all of it.
    """

    name: str
    passed: bool
    seconds: float
    summary: str
    output: str


def gpus() -> list[dict[str, str]]:
    """The GPUs that the driver knows.

    Returns:
        One record a GPU; none without a driver.
    """
    command = ["nvidia-smi", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return [dict(zip(_QUERY, row, strict=True)) for row in rows if len(row) == len(_QUERY)]


def versions() -> dict[str, str]:
    """Installed packages that decide about speed.

    Returns:
        Version by package, of those that are there.
    """
    found = {one.metadata["Name"].lower(): one.version for one in importlib.metadata.distributions()}
    return {"python": platform.python_version()} | {name: found[name] for name in _PACKAGES if name in found}


def steps() -> dict[str, list[str]]:
    """What is run.

    Returns:
        Command by name.
    """
    commands = {_TESTS: [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]}
    for script in sorted((_ROOT / "benchmarks").glob("gpu*.py")):
        if script.name != Path(__file__).name:
            commands[script.name] = [sys.executable, str(script)]
    return commands


def run(name: str, command: list[str]) -> Outcome:
    """Run one step from the root of the repository.

    Args:
        name: of the step.
        command: what is run.

    Returns:
        How it went; tests that were all skipped did not pass.
    """
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    summary = lines[-1].strip("= ") if lines else "no output"
    passed = done.returncode == 0 and (name != _TESTS or re.search(r"\b[1-9]\d* passed", summary) is not None)
    return Outcome(name, passed, time.perf_counter() - began, summary, done.stdout)


def report(machine: dict[str, str], outcomes: list[Outcome]) -> tuple[str, str]:
    """Write it down.

    Args:
        machine: facts by name.
        outcomes: of the steps.

    Returns:
        The short tables, and the whole page in Markdown.
    """
    table = ["| machine | |", "|---|---|", *(f"| {key} | {value} |" for key, value in machine.items()), ""]
    table += ["| step | result | s | summary |", "|---|---|---|---|"]
    for one in outcomes:
        summary = one.summary.replace("|", "/")[:100]
        table.append(f"| {one.name} | {'passed' if one.passed else 'FAILED'} | {one.seconds:.0f} | {summary} |")
    short = "\n".join(table)
    details = "".join(f"\n## {one.name}\n\n```\n{one.output.rstrip()}\n```\n" for one in outcomes)
    return short, f"# Measured on {machine['GPU']}\n\n{short}\n{details}"


def main() -> int:
    """Run the suite."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    found = gpus()
    if not found:
        print("gpu_suite needs an NVIDIA GPU, got none that nvidia-smi knows. Run it where one is.", file=sys.stderr)
        return 2
    first = found[0]
    machine = {
        "GPU": first["name"] + (f" (first of {len(found)})" if len(found) > 1 else ""),
        "compute capability": first["compute_cap"],
        "memory": first["memory.total"],
        "driver": first["driver_version"],
        "date": dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
        "system": platform.platform(),
    } | versions()
    outcomes = []
    for name, command in steps().items():
        print(f"{name} ...", flush=True)
        outcomes.append(run(name, command))
    short, page = report(machine, outcomes)
    name = re.sub(r"[^a-z0-9]+", "_", first["name"].lower()).strip("_")
    path = _RESULTS / f"gpu_{name}.md"
    _RESULTS.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    print(f"\n{short}\n\nwritten to {path}")
    return 0 if all(one.passed for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
