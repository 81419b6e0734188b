"""Whether a report's figures can carry a conclusion: a reference that works, enough images, a quiet machine."""

from __future__ import annotations

import numpy as np

from hrnet_deploy.report.content import Report
from hrnet_deploy.report.numbers import percent
from hrnet_deploy.spec import Task

_FEWEST = {Task.CLASSIFICATION: 10, Task.SEGMENTATION: 3}
"""With fewer images a single one moves the metric by 10 points or more; a scene has many pixels of its own."""


def broken_reference(report: Report) -> str | None:
    """Why nothing follows from a comparison with this reference.

    Args:
        report: the report.

    Returns:
        A sentence; None for a reference that is better than chance.
    """
    metrics = report.reference.evaluation.metrics
    share = chance(report)
    if metrics.value > share:
        return None
    return (
        f"Nothing follows from this comparison: the reference reaches {percent(metrics.value)} {metrics.name}, where "
        f"chance reaches up to {percent(share)}. Check its weights, class order, preprocessing and labels."
    )


def chance(report: Report) -> float:
    """What a net that knows nothing may reach on these images.

    Args:
        report: the report.

    Returns:
        The metric, 0..1, of the better of two: one class for everything, and a draw among all classes, for labels of
        images with two standard errors of luck.
    """
    evaluation = report.reference.evaluation
    support = np.asarray(evaluation.metrics.support, np.float64)
    labelled, total = int((support > 0).sum()), float(support.sum())
    if total == 0:
        return 0.0
    most = float(support.max()) / total
    if report.reference.model.card.task is Task.SEGMENTATION:
        # One class everywhere: its IoU is its share of the pixels, that of all others 0.
        return most / labelled if labelled > 1 else 0.0
    draw = 1 / len(evaluation.classes)
    luck = 2 * (draw * (1 - draw) / total) ** 0.5
    return float(min(max(draw + luck, most if labelled > 1 else 0.0), 0.99))


def doubts(report: Report) -> list[str]:
    """What makes a conclusion uncertain, in few words each.

    Args:
        report: the report.

    Returns:
        Such as "the machine was busy: load 10.0 on 2 cores"; none where all is well.
    """
    found = []
    images, task = report.comparison.reference.data.images, report.reference.model.card.task
    if images < _FEWEST[task]:
        found.append(f"only {images} {'image' if images == 1 else 'images'}")
    cpu = report.machine.processor
    if cpu.busy:
        found.append(f"the machine was busy: load {cpu.load} on {cpu.cores} cores")
    places = {row.model.device.partition(":")[0] for row in report.rows if not row.standing.predicted}
    if len(places) > 1:
        found.append(f"speeds of different devices: {' and '.join(sorted(places))}")
    return found
