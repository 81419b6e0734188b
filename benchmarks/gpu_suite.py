"""Everything that needs an NVIDIA GPU, in one go: the probe, the tests marked `gpu`, and the table of latencies.

    python benchmarks/gpu_suite.py [--out FILE.md]
    python benchmarks/gpu_suite.py --dry-run --out FILE.md      # without a GPU: that every step starts and ends

Installs nothing: run it with an interpreter that has hrnet-deploy[gpu,cuda] and, for engines, TensorRT or TensorRT-RTX.
Prints a table of the machine and of the steps, and writes it with all output to benchmarks/results/gpu_<name>.md.
A GPU test that is skipped although there is a GPU has failed, unless a package is not installed or the table of GPUs
refuses the runtime. Exit codes: 0 all passed, 1 something failed, 2 no GPU.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comparison.config import ROOT
from comparison.table import Table, script_parser

from hrnet_deploy.system.nvidia_smi import query_gpus

_RESULTS = ROOT / "benchmarks" / "results"
_PACKAGES = (
    *("hrnet-deploy", "torch", "onnx", "onnxruntime-gpu", "onnxruntime", "tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    *("tensorrt-rtx-cu13", "onnxruntime-ep-nv-tensorrt-rtx", "nvidia-cudnn-cu13", "nvidia-cublas"),
    *("cuda-bindings", "pycuda"),
)
_QUERY = ("name", "driver_version", "memory.total", "compute_cap")
TEST_FILES = (
    "tests/engines/ort/test_engine.py",
    "tests/engines/ort/test_cuda.py",
    "tests/engines/ort/test_rtx.py",
    "tests/engines/tensorrt/test_engine_gpu.py",
)
"""Those with tests marked `gpu`: collecting all others takes longer and needs more packages."""
_TESTS = "tests"
_SUITE_FLAG = "HRNET_DEPLOY_GPU_SUITE"
"""Tells tests/conftest.py that there is a GPU."""


@dataclass(frozen=True)
class Outcome:
    """How a step ended; the summary is its last line."""

    name: str
    passed: bool
    seconds: float
    summary: str
    output: str


def gpus() -> list[dict[str, str]]:
    """Return one record a GPU that the driver knows; none without a driver."""
    rows = [dict(zip(_QUERY, row, strict=True)) for row in query_gpus(*_QUERY)[0]]
    return [row | {"memory.total": f"{row['memory.total']} MiB"} for row in rows]


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that decide about speed."""
    found = {one.metadata["Name"].lower(): one.version for one in importlib.metadata.distributions()}
    return {"python": platform.python_version()} | {name: found[name] for name in _PACKAGES if name in found}


@dataclass(frozen=True)
class Step:
    """A command that has failed when it runs for longer than `timeout_s`."""

    command: list[str]
    timeout_s: float


def steps(*, dry: bool = False) -> dict[str, Step]:
    """Return the steps, the most important first; a dry run only collects the tests."""
    scripts, flags = ROOT / "benchmarks", ["--dry-run"] if dry else []
    pytest = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    pytest += ["--continue-on-collection-errors", *(["--collect-only"] if dry else []), *TEST_FILES]
    return {
        "probe": Step([sys.executable, str(scripts / "gpu_probe.py"), *flags], 600),
        _TESTS: Step(pytest, 1200),
        "latency": Step([sys.executable, str(scripts / "gpu_latency.py"), *flags], 3600),
    }


def run(name: str, step: Step, *, dry: bool = False) -> Outcome:
    """Run one step from the root of the repository; tests of which none passed have failed."""
    began = time.perf_counter()
    environment = os.environ | ({} if dry else {_SUITE_FLAG: "1"})
    summary = ""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "timeout": step.timeout_s}
    try:
        done = subprocess.run(step.command, cwd=ROOT, env=environment, check=False, **pipes)
        raw, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        raw, code, summary = error.stdout or b"", 1, f"ended after {step.timeout_s:.0f} s"
    output = raw.decode(errors="replace")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    summary = summary or (lines[-1].strip("= ") if lines else "no output")
    wanted = r"\b[1-9]\d*(/\d+)? tests? collected" if dry else r"\b[1-9]\d* passed"
    passed = code == 0 and (name != _TESTS or re.search(wanted, summary) is not None)
    return Outcome(name, passed, time.perf_counter() - began, summary, output)


def report(machine: dict[str, str], outcomes: list[Outcome]) -> tuple[str, str]:
    """Return the short tables, and the whole page in Markdown."""
    table = Table("", ("step", "result", "s", "summary"))
    for one in outcomes:
        result, summary = "passed" if one.passed else "FAILED", one.summary.replace("|", "/")[:100]
        table.rows.append((one.name, result, f"{one.seconds:.0f}", summary))
    short = "\n".join(one.markdown() for one in (Table("", ("machine", ""), list(machine.items())), table))
    details = "".join(f"\n## {one.name}\n\n```\n{one.output.rstrip()}\n```\n" for one in outcomes)
    return short, f"# Measured on {machine['GPU']}\n\n{short}\n{details}"


def main() -> int:
    """Run the suite."""
    parser = script_parser(__doc__)
    parser.add_argument("--out", type=Path, help="the page of results (default benchmarks/results/gpu_<name>.md)")
    parser.add_argument("--dry-run", action="store_true", help="without a GPU: that every step starts and ends")
    args = parser.parse_args()
    if args.dry_run and args.out is None:
        parser.error("--dry-run needs --out: its page must not lie among results")
    found = gpus()
    if not found and not args.dry_run:
        print("gpu_suite needs an NVIDIA GPU, got none that nvidia-smi knows. Run it where one is.", file=sys.stderr)
        return 2
    first = found[0] if found and not args.dry_run else dict.fromkeys(_QUERY, "none (dry run)")
    machine = {
        "GPU": first["name"] + (f" (first of {len(found)})" if len(found) > 1 else ""),
        "compute capability": first["compute_cap"],
        "memory": first["memory.total"],
        "driver": first["driver_version"],
        "date": dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
        "system": platform.platform(),
    } | versions()
    outcomes = []
    name = re.sub(r"[^a-z0-9]+", "_", first["name"].lower()).strip("_")
    path = args.out or _RESULTS / f"gpu_{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    for title, step in steps(dry=args.dry_run).items():
        print(f"{title} ...", flush=True)
        outcomes.append(run(title, step, dry=args.dry_run))
        # After every step: a later one may take the machine down.
        short, page = report(machine, outcomes)
        path.write_text(page, encoding="utf-8")
    print(f"\n{short}\n\nwritten to {path}")
    return 0 if all(one.passed for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
