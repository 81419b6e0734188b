"""The answer in words: what it costs, where, and whether it is worth it."""

from __future__ import annotations

from dataclasses import dataclass

from hrnet_deploy.report.content import Report, Row
from hrnet_deploy.report.numbers import interval, percent, points, ratio
from hrnet_deploy.report.soundness import broken_reference, doubts
from hrnet_deploy.spec import Task

ENOUGH = 0.99
"""Share of the reference's metric a candidate must keep to be worth its speed.

Source: MLPerf Inference rules, quality target of 99% of the FP32 reference.
"""
NOTICEABLE = 1.05
"""A speed-up below this is within what a machine's moods do."""


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        headline: one sentence.
        lines: one for each candidate.
        cautions: what the reader should know before acting on it.
        best: the candidate to take; None where none is worth it.
    """

    headline: str
    lines: tuple[str, ...]
    cautions: tuple[str, ...]
    best: Row | None


def judge(report: Report) -> Verdict:
    """Read the answer off a report.

    Args:
        report: the report.

    Returns:
        The verdict.
    """
    broken = broken_reference(report)
    good = [row for row in report.candidates if keeps_enough(report, row)]
    faster = [row for row in report.candidates if (report.speed_up(row) or 0) >= NOTICEABLE]
    best = max((row for row in faster if row in good), key=lambda row: report.speed_up(row) or 0, default=None)
    if broken is not None:
        best = None
    return Verdict(
        headline=broken or _doubted(report, _headline(report, best, good, faster)),
        lines=tuple(_line(report, row) for row in report.candidates),
        cautions=tuple(_cautions(report)),
        best=best,
    )


def keeps_enough(report: Report, row: Row) -> bool:
    """Whether a candidate keeps enough of the reference's metric.

    Args:
        report: the report.
        row: a candidate of it.

    Returns:
        True from `ENOUGH` of it; of a reference no better than chance there is nothing to keep.
    """
    if broken_reference(report) is not None:
        return False
    return row.evaluation.metrics.value >= ENOUGH * report.reference.evaluation.metrics.value


def _doubted(report: Report, headline: str) -> str:
    """The headline, after what makes it uncertain."""
    found = doubts(report)
    if not found:
        return headline
    return f"Unconfirmed ({'; '.join(found)}): {headline.replace(' is worth it: ', ' seems worth it: ')}"


def _headline(report: Report, best: Row | None, good: list[Row], faster: list[Row]) -> str:
    metric = report.metric
    if best is not None:
        size = report.shrinkage(best)
        smaller = f" and {ratio(size)} smaller" if size and size > NOTICEABLE else ""
        return f"{_called(report, best)} is worth it: {ratio(report.speed_up(best))} as fast{smaller}, {_cost(best)}."
    if faster:
        row = max(faster, key=lambda each: report.speed_up(each) or 0)
        return (
            f"None is worth it yet: {_called(report, row)} is {ratio(report.speed_up(row))} as fast, but {_cost(row)},"
            " more than 1% of what the reference reaches."
        )
    if report.reference.standing.predicted and not all(row.standing.predicted for row in report.candidates):
        return (
            f"Speed cannot be compared: {report.reference.label} ran on a stand-in ({report.reference.standing}). "
            "Compare with a reference that runs here as it will run later."
        )
    if all(row.standing.predicted for row in report.candidates):
        cheapest = min(report.candidates, key=_points)
        kept = "keep" if len(good) > 1 else "keeps"
        accurate = (
            f"{_listed([row.label for row in good])} {kept} at least 99% of the reference's {metric}"
            if good
            else f"no candidate keeps 99% of the reference's {metric}"
        )
        return (
            f"Accuracy is predicted, speed is not: {accurate} ({cheapest.label}: {_cost(cheapest)}). Time it on the"
            " target."
        )
    if good:
        row = max(good, key=lambda each: report.shrinkage(each) or 0)
        size = report.shrinkage(row)
        if size is not None and size > NOTICEABLE:
            return (
                f"Worth it for size, not for speed here: {_called(report, row)} is {ratio(size)} smaller, {_cost(row)},"
                " and no candidate is faster than the reference on this machine."
            )
    return f"Not worth it here: no candidate is faster than {report.reference.label} on this machine."


def _line(report: Report, row: Row) -> str:
    contrast = row.contrast
    if contrast is None:
        return ""
    drop = contrast.drop
    text = f"{row.label}: {_cost(row)}"
    if contrast.agreement == 1:
        text = f"{row.label} answers everything as the reference does"
    elif drop.low is not None:
        known = "" if drop.certain or points(drop.points) == "0.00" else "; could be luck of the images"
        text += f" (95% interval {interval(drop.low, drop.high)}{known})"
    what = "pixels" if report.reference.model.card.task is Task.SEGMENTATION else "answers"
    if contrast.agreement < 1:
        text += f"; {percent(contrast.agreement)} of {what} as the reference's"
    worst = row.worst
    if worst is not None:
        text += f"; loses most on '{worst.name}' ({points(worst.points)} points)"
    if row.standing.predicted:
        return f"{text}. Accuracy {row.standing}."
    speed = report.speed_up(row)
    return f"{text}; {ratio(speed)} as fast." if speed is not None else f"{text}."


def _cautions(report: Report) -> list[str]:
    cautions = []
    widths = [
        (row.contrast.drop.high - row.contrast.drop.low) / 2
        for row in report.candidates
        if row.contrast and row.contrast.drop.low is not None and row.contrast.drop.high is not None
    ]
    data = report.comparison.reference.data
    if widths and max(widths) > 0:
        cautions.append(
            f"With {data.images} images an interval reaches up to {points(max(widths))} points to either side;"
            " differences below that need more images."
        )
    elif not widths:
        cautions.append("One image says nothing about luck: there are no intervals.")
    cpu = report.machine.processor
    if cpu.busy:
        cautions.append(
            f"The machine was busy when measuring began (load {cpu.load} on {cpu.cores} cores): times are too long and"
            " speed-ups uncertain. Measure again when it is quiet."
        )
    if any(row.standing.predicted for row in report.candidates):
        cautions.append(
            "Rows marked 'predicted' ran on a stand-in for their target: accuracy carries over, speed does not."
        )
    return cautions


def _cost(row: Row) -> str:
    lost = _points(row)
    metric = row.evaluation.metrics.name
    if points(lost) == "0.00":
        return f"at no loss of {metric}"
    if lost < 0:
        return f"with {points(-lost)} points of {metric} gained"
    return f"at a loss of {points(lost)} points of {metric}"


def _called(report: Report, row: Row) -> str:
    """By its precision where that says which one, else by its file."""
    precisions = [each.model.card.precision for each in report.candidates]
    name = row.model.card.precision.value.upper()
    return f"{name} ({row.label})" if precisions.count(row.model.card.precision) > 1 else name


def _points(row: Row) -> float:
    return row.contrast.drop.points if row.contrast else 0.0


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
