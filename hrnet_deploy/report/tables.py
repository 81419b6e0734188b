"""The tables of a report, for every format; a dash stands where there is no figure."""

from __future__ import annotations

import math

from hrnet_deploy.evaluation.waterfall_result import WaterfallStep
from hrnet_deploy.report.formatting import interval, megabytes, milliseconds, percent, points, ratio
from hrnet_deploy.report.report import Report, Row
from hrnet_deploy.system.text_table import Table, visible

_MAX_CLASSES = 60
_CSV_WORDS = ("artefact", "sha256", "precision", "runtime", "status", "metric", "class")
_CSV_HEADER = (  # the column keeps its first spelling: it is a file format
    *("artefact", "sha256", "precision", "runtime", "status", "metric", "class_index", "class", "support"),
    *("value", "drop_points", "low_points", "high_points", "agreement"),
    *("size_bytes", "median_ms", "p95_ms", "speed_up"),
)


def figure_table(report: Report) -> Table:
    """Show all figures, one row per artifact."""
    second = report.second_metric
    header = (
        *("", "artifact", "precision", "runs on", report.metric, "drop", "95% interval"),
        *((second, f"{second} drop") if second else ()),
        *("agreement", "worst class", "MB", "median ms", "p95 ms", "speed-up"),
    )
    words = ("", "artifact", "precision", "runs on", "worst class")
    return Table(header, [_figure_cells(report, row) for row in report.rows], words)


def prediction_table(report: Report) -> Table:
    """Show each prediction beside the measurement of its engine."""
    metric = report.metric
    header = ("predicted by", "measured on", f"predicted {metric}", f"measured {metric}", "gap, points")
    rows = []
    for pair in report.pairs:
        both = (report.rows[pair.predicted], report.rows[pair.measured])
        rows.append((*(row.label for row in both), *(percent(row.value) for row in both), points(pair.gap)))
    return Table(header, rows, ("predicted by", "measured on"))


def feature_table(report: Report) -> Table:
    """Show how similar the features of candidates are to those of the reference."""
    header = ("artifact", "feature", "mean cosine", "worst image")
    rows = [
        (f"{row.letter} {row.label}", visible(name), f"{found.mean:.5f}", f"{found.worst:.5f}")
        for row in report.candidates
        for name, found in row.features.items()
    ]
    return Table(header, rows, ("artifact", "feature"))


def waterfall_table(report: Report) -> Table:
    """Show the steps from the checkpoint to the artifacts."""
    header = ("step", report.metric, "drop", "95% interval", "total drop", "agreement")
    return Table(header, [_step_cells(step) for step in report.waterfall], ("step",))


def class_table(report: Report) -> Table:
    """Show the labeled classes, and of many those with the largest changes."""
    header = ("class", "labeled", *(f"{row.letter} {row.label}" for row in report.rows))
    metrics, names = report.reference.evaluation.metrics, report.reference.evaluation.classes
    changes: dict[int, float] = {}
    for delta in (delta for row in report.candidates for delta in row.judged_classes):
        changes[delta.index] = max(changes.get(delta.index, 0.0), abs(delta.points or 0))
    rows = []
    for index in sorted(sorted(changes, key=lambda index: -changes[index])[:_MAX_CLASSES]):
        deltas = [row.comparison.classes[index] for row in report.candidates if row.comparison]
        cells = [f"{percent(delta.candidate)} ({points(delta.points)})" for delta in deltas]
        reference = percent(float(metrics.class_values[index]))
        rows.append((visible(names[index]), f"{int(metrics.support[index]):,}", reference, *cells))
    return Table(header, rows, ("class",))


def csv_table(report: Report) -> Table:
    """Show one row per artifact, without a class, and one per artifact and class.

    Shares are 0..1, drops percentage points; a cell without a figure is empty.
    """
    rows = []
    for row in report.rows:
        metrics, model, status, drop = row.evaluation.metrics, row.model, row.runtime_status, row.drop
        start = (row.label, model.sha256, model.card.precision.value, status.runtime, status.status)
        losses: list[float | None] = [None] * 4
        if row.comparison and drop:
            losses = [drop.points, drop.low, drop.high, row.comparison.agreement]
        times = (row.latency.median_ms, row.latency.p95_ms, report.speed_up(row))
        support = int(metrics.support.sum())
        rows.append(_csv_cells(*start, metrics.name, "", "", support, row.value, *losses, model.size_bytes, *times))
        names = map(visible, row.evaluation.classes)
        for index, (name, value, labeled) in enumerate(zip(names, metrics.class_values, metrics.support, strict=True)):
            lost = row.comparison.classes[index].points if row.comparison else None
            share = None if math.isnan(value) else float(value)
            rows.append(_csv_cells(*start, report.class_metric, index, name, int(labeled), share, lost, *[None] * 7))
    return Table(_CSV_HEADER, rows, _CSV_WORDS)


def _figure_cells(report: Report, row: Row) -> tuple[str, ...]:
    drop, top5_drop, worst, status = row.drop, row.top5_drop, row.worst_class, row.runtime_status
    second = (percent(row.top5), points(top5_drop.points) if top5_drop else "reference") if report.second_metric else ()
    return (
        row.letter,
        row.label,
        row.model.card.precision.value,
        status.runtime + (f" ({status.status})" if status.predicted else ""),
        percent(row.value),
        points(drop.points) if drop else "reference",
        interval(drop.low, drop.high) if drop else "-",
        *second,
        percent(row.comparison.agreement) if row.comparison else "-",
        f"{visible(worst.name)} {points(worst.points)}" if worst else "-",
        megabytes(row.model.size_bytes),
        milliseconds(row.latency.median_ms),
        milliseconds(row.latency.p95_ms),
        ratio(report.speed_up(row)) if row.comparison else "-",
    )


def _step_cells(step: WaterfallStep) -> tuple[str, ...]:
    if step.value is None:
        return (f"{step.name} ({step.reason})", *["-"] * 5)
    drop = step.drop
    if drop is None:
        return (step.name, percent(step.value), *["-"] * 4)
    ends = interval(drop.low, drop.high)
    return (step.name, percent(step.value), points(drop.points), ends, points(step.total), percent(step.agreement))


def _csv_cells(*values: str | float | None) -> list[str]:
    return ["" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value) for value in values]
