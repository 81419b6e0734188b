"""Tables of the rows of each part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comparison.table import Table

from accuracy.quantizers import METHODS

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
"""By part."""
