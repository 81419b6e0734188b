"""The table of a report, for a terminal, for Markdown and for CSV."""

from __future__ import annotations

import csv
import io

from hrnet_deploy.report.content import Report, Row
from hrnet_deploy.report.numbers import interval, megabytes, milliseconds, percent, points, ratio, visible
from hrnet_deploy.system.terminal import aligned

_LEFT = ("", "artefact", "precision", "runs on", "worst class")


def headers(report: Report) -> tuple[str, ...]:
    """Column titles.

    Args:
        report: the report.

    Returns:
        The titles.
    """
    return (
        *("", "artefact", "precision", "runs on", report.metric, "drop", "95% interval"),
        *((report.second, f"{report.second} drop") if report.second else ()),
        *("agreement", "worst class"),
        *("MB", "median ms", "p95 ms", "speed-up"),
    )


def cells(report: Report, row: Row) -> tuple[str, ...]:
    """One line of the table.

    Args:
        report: the report.
        row: of it.

    Returns:
        One text a column; "-" where there is no figure.
    """
    contrast, worst = row.contrast, row.worst
    lost = row.top5_drop
    second = (percent(row.top5), "reference" if lost is None else points(lost.points)) if report.second else ()
    return (
        row.letter,
        row.label,
        row.model.card.precision.value,
        row.standing.runtime + (f" ({row.standing.status})" if row.standing.predicted else ""),
        percent(row.evaluation.metrics.value),
        "reference" if contrast is None else points(contrast.drop.points),
        "-" if contrast is None else interval(contrast.drop.low, contrast.drop.high),
        *second,
        "-" if contrast is None else percent(contrast.agreement),
        "-" if worst is None else f"{visible(worst.name)} {points(worst.points)}",
        megabytes(row.model.size_bytes),
        milliseconds(row.latency.median_ms),
        milliseconds(row.latency.p95_ms),
        "-" if contrast is None else ratio(report.speed_up(row)),
    )


def left_aligned(title: str) -> bool:
    """Whether a column holds words.

    Args:
        title: of the column.

    Returns:
        False for columns of figures.
    """
    return title in _LEFT


def as_text(report: Report) -> str:
    """The table for a terminal.

    Args:
        report: the report.

    Returns:
        Aligned lines without a trailing newline.
    """
    titles = headers(report)
    return "\n".join(aligned(titles, [cells(report, row) for row in report.rows], _LEFT))


def as_csv(report: Report) -> str:
    """One line for each artefact and class, after one for each artefact as a whole (without a class).

    Shares are 0..1, drops percentage points, empty where there is no figure. Text that a spreadsheet would take for a
    formula begins with an apostrophe.

    Args:
        report: the report.

    Returns:
        CSV with a header.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        (
            *("artefact", "sha256", "precision", "runtime", "status", "metric", "class_index", "class", "support"),
            *("value", "drop_points", "low_points", "high_points", "agreement"),
            *("size_bytes", "median_ms", "p95_ms", "speed_up"),
        )
    )
    for row in report.rows:
        metrics, contrast, model = row.evaluation.metrics, row.contrast, row.model
        begin = [_text(row.label), model.sha256, model.card.precision.value, row.standing.runtime, row.standing.status]
        drop = None if contrast is None else contrast.drop
        whole = (
            [None] * 4 if drop is None or contrast is None else [drop.points, drop.low, drop.high, contrast.agreement]
        )
        times = [row.latency.median_ms, row.latency.p95_ms, report.speed_up(row)]
        support = int(metrics.support.sum())
        writer.writerow(
            _line([*begin, metrics.name, None, None, support, metrics.value, *whole, model.size_bytes, *times])
        )
        deltas = None if contrast is None else contrast.classes
        figures = zip(row.evaluation.classes, metrics.class_values, metrics.support, strict=True)
        name_of_value = "IoU" if metrics.name == "mIoU" else metrics.name
        for index, (name, value, labelled) in enumerate(figures):
            lost = None if deltas is None else deltas[index].points
            share = None if value != value else float(value)  # noqa: PLR0124 - nan
            writer.writerow(_line([*begin, name_of_value, index, _text(name), int(labelled), share, lost, *[None] * 7]))
    return out.getvalue()


def _line(values: list[str | float | None]) -> list[str]:
    return ["" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value) for value in values]


def _text(text: str) -> str:
    text = visible(text)
    return "'" + text if text[:1] in "=+-@\t" and text else text
