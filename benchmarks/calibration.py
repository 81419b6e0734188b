"""What INT8 costs in accuracy, by layout, method and tool, and what calibration costs.

    python benchmarks/calibration.py [--shared DIR] [--modelopt PYTHON] [--only PART ...] [--quick] [--json FILE]
    python benchmarks/calibration.py --only accuracy --models street --layouts tensorrt --methods entropy

Parts: accuracy, robustness, speed. With --layouts or --methods, accuracy is that of ours alone.
The other tools are onnxruntime.quantization (QDQ, per channel, its defaults), NNCF (its defaults) and nvidia-modelopt,
which needs an interpreter of its own: --modelopt or MODELOPT_PYTHON. All get the same float32 graph and the same
calibration arrays in the same run. Every graph is judged on ONNX Runtime's CPU provider, NNCF's on OpenVINO, on images
that nothing was calibrated on or chosen by.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accuracy.cost import speed_rows
from accuracy.judge import CASES, Judge, make_case
from accuracy.quantizers import LAYOUTS, METHODS, baseline_rows, our_rows, robustness_rows
from comparison.config import SHARED
from comparison.table import Table, script_parser

Rows = list[dict[str, Any]]


def accuracy_table(rows: Rows) -> Table:
    """Tabulate one layout and method, or one tool and method, a row."""
    columns = {"model": "{model}", "tool": "{tool}", "method": "{method}{how}"}
    columns |= {"mIoU or top-1 % (float32)": "{accuracy:.2f} ({float32:.2f})", "drop, points": "{drop:+.2f}"}
    columns |= {"equal outputs %": "{agreement:.2%}{views}", "worst image %": "{worst:.2%}", "missed": "{missed_words}"}
    shown: Rows = []
    for row in rows:
        how = f" ({row['chosen']})" if row["method"].startswith("auto") and "chosen" in row else ""
        views = f" ± {100 * row['se']:.2f} ({row['plain']:.2%})" if "se" in row else ""
        kept = f"; kept {len(row['kept'])}: {', '.join(row['kept'])}" if row.get("kept") else ""
        shown.append(row | {"how": how, "views": views})
        if "missed" in row:
            shown[-1]["missed_words"] = (", ".join(row["missed"]) or "-") + kept
    return Table.of("", columns, shown)


def robustness_table(rows: Rows) -> Table:
    """Tabulate one layout and handicap a row."""
    plain = METHODS[:-1]
    table = Table("", ("model", "layout", "handicap", *plain, "auto chose", "behind the best, points"))
    for row in rows:
        found = [row[method].get("agreement") for method in plain]
        best = max((value for value in found if value is not None), default=0.0)
        cells = ["refused" if value is None else f"{value:.2%}" for value in found]
        auto, name, loss = row["auto"], "refused", "-"
        if "error" not in auto:
            name, loss = f"{auto['chosen']} {auto['agreement']:.2%}", f"{100 * (best - auto['agreement']):.2f}"
        table.rows.append((row["model"], row["target"], row["handicap"], *cells, name, loss))
    return table


def speed_table(rows: Rows) -> Table:
    """Tabulate one tool and number of images a row."""
    columns = {"tool": "{tool}", "images": "{images}", "tensors": "{tensors}", "calibration s": "{calibration_s:.1f}"}
    columns |= {"rounding s": "{rounding_s:.1f}", "process s": "{seconds:.1f}", "peak GiB": "{peak_gib:.2f}"}
    return Table.of("", columns, rows)


TABLES: dict[str, Callable[[Rows], Table]] = {
    "accuracy": accuracy_table,
    "robustness": robustness_table,
    "speed": speed_table,
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--modelopt", default=os.environ.get("MODELOPT_PYTHON"), help="interpreter that has it")
    parser.add_argument("--only", nargs="+", choices=tuple(TABLES), default=tuple(TABLES))
    parser.add_argument("--models", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--layouts", nargs="+", choices=tuple(LAYOUTS), help="of accuracy")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="of accuracy")
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    parser.add_argument("--json", type=Path, help="write the rows there")
    args = parser.parse_args(argv)
    if (args.layouts or args.methods) and "accuracy" not in args.only:
        parser.error(f"--layouts and --methods choose rows of accuracy, got --only {' '.join(args.only)}")
    return args


def measure_accuracy(judge: Judge, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all layouts, methods and tools, or our layouts and methods of the command line."""
    layouts, methods = args.layouts or tuple(LAYOUTS), args.methods or METHODS
    if args.layouts or args.methods:
        return our_rows(judge, folder, layouts, methods, keep_fp=False)
    rows = our_rows(judge, folder, layouts, methods[:1] if args.quick else methods, keep_fp=not args.quick)
    return rows + baseline_rows(judge, folder, args.modelopt)


def main() -> int:
    """Measure what was requested and print tables; with --json also write the rows."""
    args = parse_args()
    record: dict[str, Any] = {}

    def add(part: str, rows: list[dict[str, Any]]) -> None:
        record.setdefault(part, []).extend(rows)
        print(TABLES[part](rows).markdown(), flush=True)
        if args.json:
            args.json.write_text(json.dumps(record, indent=2), encoding="utf-8")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in args.models if {"accuracy", "robustness"}.intersection(args.only) else ():
            judge = Judge(make_case(model, args.shared), folder)
            if "accuracy" in args.only:
                add("accuracy", measure_accuracy(judge, folder, args))
            if "robustness" in args.only:
                add("robustness", robustness_rows(judge, folder, quick=args.quick))
        if "speed" in args.only:
            add("speed", speed_rows(args.shared, folder, quick=args.quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())
