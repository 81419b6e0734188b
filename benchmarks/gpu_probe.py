"""Checks of this package that need a GPU, in five minutes: one JSON line a finding, the most important first.

    python benchmarks/gpu_probe.py [--limit SECONDS] [--out FILE.jsonl] [--only SECTION ...]
    python benchmarks/gpu_probe.py --dry-run          # the same code on the CPU, tiny, for CI: its figures mean nothing

A section that fails becomes a line of its own, and the next one runs; so does one that no longer fits into the time.
Exit codes: 0 every section that ran passed, 1 a section failed or a check did not hold, 2 no GPU.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import traceback
from pathlib import Path

import gpu_checks
from comparison.table import script_parser
from gpu_bench import Bench
from gpu_suite import gpus

SECTIONS = {
    "machine": (gpu_checks.machine, 5),
    "opens and agrees": (gpu_checks.opens_and_agrees, 20),
    "tensor cores": (gpu_checks.tensor_cores, 40),
    "tuning": (gpu_checks.tuning, 30),
    "threads": (gpu_checks.threads, 15),
    "readers": (gpu_checks.readers, 15),
    "capture beside allocations": (gpu_checks.capture_beside_allocations, 15),
    "shapes in turn": (gpu_checks.shapes_in_turn, 20),
    "labels inside": (gpu_checks.labels_inside, 40),
    "tensorrt-rtx": (gpu_checks.tensorrt_rtx, 40),
    "onnxruntime-rtx": (gpu_checks.rtx_plugin, 30),
}
"""Check and approximate seconds on a GPU by name, the most important first."""


def run(args: argparse.Namespace, folder: Path) -> int:
    """Run every section that fits into the time and return the exit code."""
    bench = Bench(folder, "cpu" if args.dry_run else "cuda", args.out)
    for bench.section in args.only or SECTIONS:
        check, seconds = SECTIONS[bench.section]
        left = args.limit - (time.perf_counter() - bench.began)
        if left < seconds and not args.dry_run:
            bench.note(left_out=f"needs {seconds} s, {left:.0f} s are left")
            continue
        try:
            check(bench)
        except Exception as error:  # noqa: BLE001 - a probe goes on
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            bench.note(failed=text, where=f"{Path(where.filename).name}:{where.lineno}")
        gc.collect()
    bench.section = "end"
    bench.note(bad=bench.bad)
    return 1 if bench.bad else 0


def main() -> int:
    """Run the probe."""
    parser = script_parser(__doc__)
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
