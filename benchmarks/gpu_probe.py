"""Checks of this package that need a GPU, in five minutes: one JSON line a finding, the most important first.

    python benchmarks/gpu_probe.py [--limit SECONDS] [--out FILE.jsonl] [--only SECTION ...]
    python benchmarks/gpu_probe.py --dry-run          # the same code on the CPU, tiny, for CI: its figures mean nothing

A section that fails becomes a line of its own, and the next one runs; so does one that no longer fits into the time.
Exit codes: 0 every section that ran passed, 1 a section failed or a check did not hold, 2 no GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gpu_probe_ort as ort
import gpu_probe_torch as with_torch
from gpu_bench import Bench
from gpu_suite import gpus


@dataclass(frozen=True)
class Section:
    """A check with one finding or more, and about how many seconds it needs on a GPU."""

    check: Callable[[Bench], None]
    seconds: float


SECTIONS: dict[str, Section] = {
    "machine": Section(ort.machine, 5),
    "opens and agrees": Section(ort.opens_and_agrees, 20),
    "tensor cores": Section(ort.tensor_cores, 40),
    "tuning": Section(ort.tuning, 30),
    "threads": Section(ort.threads, 15),
    "readers": Section(with_torch.readers, 15),
    "capture beside allocations": Section(with_torch.capture_beside_allocations, 15),
    "shapes in turn": Section(ort.shapes_in_turn, 20),
    "labels inside": Section(ort.labels_inside, 40),
    "tensorrt-rtx": Section(ort.tensorrt_rtx, 40),
    "onnxruntime-rtx": Section(ort.rtx_plugin, 30),
}
"""By name, the most important first."""


@dataclass
class Findings:
    """Prints findings and appends them to a file; counts sections that failed and checks that did not hold."""

    out: Path | None
    began: float = field(default_factory=time.perf_counter)
    bad: int = 0

    def note(self, section: str, **found: Any) -> None:
        """Record a finding; `holds=False` marks a check that did not hold."""
        self.bad += found.get("holds") is False or "failed" in found
        line = json.dumps({"s": round(time.perf_counter() - self.began, 1), "section": section, **found}, default=str)
        print(line, flush=True)
        if self.out is not None:
            with self.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def run(args: argparse.Namespace, folder: Path) -> int:
    """Run every section that fits into the time and return the exit code."""
    findings = Findings(args.out)
    for name in args.only or SECTIONS:
        section = SECTIONS[name]
        left = args.limit - (time.perf_counter() - findings.began)
        if left < section.seconds and not args.dry_run:
            findings.note(name, left_out=f"needs {section.seconds:.0f} s, {left:.0f} s are left")
            continue
        bench = Bench(name, folder, "cpu" if args.dry_run else "cuda", findings.note)
        try:
            section.check(bench)
        except Exception as error:  # noqa: BLE001 - a probe goes on
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            findings.note(name, failed=text, where=f"{Path(where.filename).name}:{where.lineno}")
        gc.collect()
    findings.note("end", bad=findings.bad)
    return 1 if findings.bad else 0


def main() -> int:
    """Run the probe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=300, help="begin nothing that ends later (default 300 s)")
    parser.add_argument("--out", type=Path, help="append the findings here as well")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), help="these sections alone")
    parser.add_argument("--keep", type=Path, help="folder for exported files, to be used again")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, tiny")
    args = parser.parse_args()
    if not args.dry_run and not gpus():
        print("gpu_probe needs an NVIDIA GPU, got none that nvidia-smi knows. Run it where one is.", file=sys.stderr)
        return 2
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        return run(args, args.keep or Path(scratch))


if __name__ == "__main__":
    sys.exit(main())
