"""The conclusion of a report in words: cost, gain, and the candidate to use."""

from __future__ import annotations

from dataclasses import dataclass

from hrnet_deploy.evaluation.comparison import LabelChange
from hrnet_deploy.report.formatting import interval, join_words, percent, points, ratio
from hrnet_deploy.report.report import Report, Row
from hrnet_deploy.report.soundness import broken_reference, doubts

ENOUGH = 0.99
"""Share of the reference's metric that a candidate must keep.

Source: MLPerf Inference rules, quality target of 99% of the FP32 reference.
"""
NOTICEABLE = 1.05
"""Smallest speed-up above the noise of repeated measurements."""


@dataclass(frozen=True)
class Summary:
    """The conclusion.

    Attributes:
        headline: one sentence.
        lines: one line per candidate.
        cautions: limits of the measurement.
        best: the candidate to use; None where none is worth it.
    """

    headline: str
    lines: tuple[str, ...]
    cautions: tuple[str, ...]
    best: Row | None


def summarize(report: Report) -> Summary:
    """Draw the conclusion; a doubtful measurement makes the headline "Unconfirmed"."""
    broken = broken_reference(report)
    good = [row for row in report.candidates if keeps_enough(report, row)]
    faster = [row for row in report.candidates if (report.speed_up(row) or 0) >= NOTICEABLE]
    best = max((row for row in faster if row in good), key=lambda row: report.speed_up(row) or 0, default=None)
    headline = broken or _headline(report, best, good, faster)
    uncertain = doubts(report)
    if uncertain and broken is None:
        headline = f"Unconfirmed ({'; '.join(uncertain)}): {headline.replace(' is worth it: ', ' seems worth it: ')}"
    return Summary(
        headline=headline,
        lines=tuple(_line(report, row) for row in report.candidates),
        cautions=tuple(_cautions(report)),
        best=best,
    )


def keeps_enough(report: Report, row: Row) -> bool:
    """Check that a candidate keeps `ENOUGH` of a reference that is better than chance."""
    return broken_reference(report) is None and row.value >= ENOUGH * report.reference.value


def describe_changes(report: Report, row: Row) -> str:
    """Count the images whose output a candidate changed; "" for the reference."""
    comparison, total = row.comparison, report.data.images
    if comparison is None:
        return ""
    changed = len(comparison.images)
    if not changed:
        return f"No image changed: all {total} outputs equal the reference's."
    if report.segmentation:
        return (
            f"Pixels changed in {changed} of {total} images, {percent(1 - comparison.agreement)} of all pixels;"
            f" {percent(comparison.lost)} of the judged pixels lost, {percent(comparison.gained)} gained."
        )
    kinds = [image.kind for image in comparison.images if isinstance(image, LabelChange)]
    lost, gained, other = (kinds.count(kind) for kind in ("lost", "gained", "other"))
    return f"The class changed in {changed} of {total} images: {lost} lost, {gained} gained, {other} wrong both times."


def _headline(report: Report, best: Row | None, good: list[Row], faster: list[Row]) -> str:
    if best is not None:
        size = report.times_smaller(best)
        smaller = f" and {ratio(size)} smaller" if size and size > NOTICEABLE else ""
        return f"{_name(report, best)} is worth it: {ratio(report.speed_up(best))} as fast{smaller}, {_cost(best)}."
    if faster:
        row = max(faster, key=lambda each: report.speed_up(each) or 0)
        return (
            f"No candidate is worth it: {_name(report, row)} is {ratio(report.speed_up(row))} as fast, but"
            f" {_cost(row)}, more than 1% of the reference's {report.metric}."
        )
    if all(row.runtime_status.predicted for row in report.candidates):
        return _predicted_headline(report, good)
    if report.reference.runtime_status.predicted:
        return (
            f"Speed cannot be compared: {report.reference.label} did not run on its target"
            f" ({report.reference.runtime_status}). Use a reference that runs on its target here."
        )
    smallest = max(good, key=lambda each: report.times_smaller(each) or 0, default=None)
    size = None if smallest is None else report.times_smaller(smallest)
    if smallest is not None and size is not None and size > NOTICEABLE:
        return (
            f"Worth it for size, not for speed here: {_name(report, smallest)} is {ratio(size)} smaller,"
            f" {_cost(smallest)}, and no candidate is faster than the reference on this machine."
        )
    return f"Not worth it here: no candidate is faster than {report.reference.label} on this machine."


def _predicted_headline(report: Report, good: list[Row]) -> str:
    cheapest = min(report.candidates, key=_points)
    accuracy = f"no candidate keeps 99% of the reference's {report.metric}"
    if good:
        verb = "keep" if len(good) > 1 else "keeps"
        labels = join_words([row.label for row in good])
        accuracy = f"{labels} {verb} at least 99% of the reference's {report.metric}"
    return (
        f"Accuracy is predicted, speed is not: {accuracy} ({cheapest.label}: {_cost(cheapest)})."
        " Measure speed on the target."
    )


def _line(report: Report, row: Row) -> str:
    comparison = row.comparison
    if comparison is None:
        return ""
    drop, worst, speed = comparison.drop, row.worst_class, report.speed_up(row)
    outputs = "pixels" if report.segmentation else "outputs"
    if comparison.agreement == 1:
        parts = [f"{row.label}: all {outputs} equal the reference's"]
    else:
        parts = [f"{row.label}: {_cost(row)}"]
        if drop.low is not None:
            known = "" if drop.certain or points(drop.points) == "0.00" else ", not significant"
            parts[0] += f" (95% interval {interval(drop.low, drop.high)}{known})"
        parts.append(f"{percent(comparison.agreement)} of {outputs} equal the reference's")
    if worst is not None:
        parts.append(f"largest loss on '{worst.name}' ({points(worst.points)} points)")
    if speed is not None:
        parts.append(f"{ratio(speed)} as fast")
    status = f" Accuracy {row.runtime_status}." if row.runtime_status.predicted else ""
    return "; ".join(parts) + "." + status


def _cautions(report: Report) -> list[str]:
    cautions = []
    widths = [
        (drop.high - drop.low) / 2
        for drop in (row.drop for row in report.candidates)
        if drop is not None and drop.low is not None and drop.high is not None
    ]
    images, cpu = report.data.images, report.machine.processor
    if not widths:
        cautions.append("One image gives no intervals. Use more images.")
    elif max(widths) > 0:
        cautions.append(
            f"The widest 95% interval on {images} images is \N{PLUS-MINUS SIGN}{points(max(widths))} points."
            " Smaller differences need more images."
        )
    if cpu.busy:
        cautions.append(
            f"The machine was busy before the measurement (load {cpu.load} on {cpu.cores} cores): times are too long"
            " and speed-ups uncertain. Measure again on an idle machine."
        )
    if any(row.runtime_status.predicted for row in report.candidates):
        cautions.append(
            "Rows marked 'predicted' did not run on their target: their accuracy carries over, their speed does not."
        )
    return cautions


def _cost(row: Row) -> str:
    lost, metric = _points(row), row.evaluation.metrics.name
    if points(lost) == "0.00":
        return f"at no loss of {metric}"
    if lost < 0:
        return f"with {points(-lost)} points of {metric} gained"
    return f"at a loss of {points(lost)} points of {metric}"


def _name(report: Report, row: Row) -> str:
    """Name a candidate by its precision, and by its label where others share the precision."""
    precision = row.model.card.precision
    unique = [each.model.card.precision for each in report.candidates].count(precision) == 1
    return precision.value.upper() if unique else f"{precision.value.upper()} ({row.label})"


def _points(row: Row) -> float:
    return row.drop.points if row.drop else 0.0
