"""Tables of the rows of each part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comparison.table import Table

from accuracy.quantizers import METHODS

Rows = list[dict[str, Any]]


def accuracy_table(rows: Rows) -> Table:
    """Tabulate one layout and method, or one tool and method, a row."""
    head = ("model", "tool", "method", "mIoU or top-1 % (float32)", "drop, points", "equal outputs %", "worst image %")
    table = Table("", (*head, "missed"))
    for row in rows:
        chosen = f" ({row['chosen']})" if row["method"].startswith("auto") and "chosen" in row else ""
        first = (row["model"], row["tool"], row["method"] + chosen)
        if "error" in row:
            table.rows.append((*first, row["error"], "", "", "", ""))
            continue
        level, drop = "-", "-"
        if "accuracy" in row:
            level, drop = f"{row['accuracy']:.2f} ({row['float32']:.2f})", f"{row['drop']:+.2f}"
        equal = f"{row['agreement']:.2%}"
        if "se" in row:
            equal += f" ± {100 * row['se']:.2f} ({row['plain']:.2%})"
        missed = ", ".join(row["missed"]) or "-"
        missed += f"; kept {len(row['kept'])}: {', '.join(row['kept'])}" if row.get("kept") else ""
        table.rows.append((*first, level, drop, equal, f"{row['worst']:.2%}", missed))
    return table


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
    table = Table("", ("tool", "images", "tensors", "calibration s", "rounding s", "process s", "peak GiB"))
    for row in rows:
        first = (row["tool"], str(row["images"]))
        if "error" in row:
            table.rows.append((*first, row["error"], "", "", "", ""))
            continue
        rounding = f"{row['rounding_s']:.1f}" if "rounding_s" in row else "-"
        process = (f"{row['seconds']:.1f}", f"{row['peak_gib']:.2f}")
        table.rows.append((*first, str(row["tensors"]), f"{row['calibration_s']:.1f}", rounding, *process))
    return table


def latency_table(rows: Rows) -> Table:
    """Tabulate one batch size a row."""
    table = Table("", ("batch", "fp32 ms", "int8 ms", "fp32 / int8"))
    for row in rows:
        figures = (f"{row['fp32_ms']:.1f}", f"{row['int8_ms']:.1f}", f"{row['ratio']:.2f}")
        table.rows.append((str(row["batch"]), *figures))
    return table


TABLES: dict[str, Callable[[Rows], Table]] = {
    "accuracy": accuracy_table,
    "robustness": robustness_table,
    "speed": speed_table,
    "latency": latency_table,
}
"""By part."""
