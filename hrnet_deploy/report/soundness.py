"""Whether a report supports a conclusion: a working reference, enough images, an idle machine."""

from __future__ import annotations

import numpy as np

from hrnet_deploy.engines.remote.address import is_url
from hrnet_deploy.report.formatting import join_words, percent
from hrnet_deploy.report.report import Report
from hrnet_deploy.spec import Task

_MIN_IMAGES = {Task.CLASSIFICATION: 10, Task.SEGMENTATION: 3}
"""Below this, one image moves the metric by 10 points or more; a scene holds many pixels."""


def broken_reference(report: Report) -> str | None:
    """Explain why a reference that is no better than chance allows no conclusion; None for a better one."""
    metrics = report.reference.evaluation.metrics
    share = chance(report)
    if metrics.value > share:
        return None
    return (
        f"No conclusion from this comparison: the reference achieves {percent(metrics.value)} {metrics.name}, and "
        f"chance achieves up to {percent(share)}. Check its weights, class order, preprocessing and labels."
    )


def chance(report: Report) -> float:
    """Estimate the metric, 0..1, of the better of two guesses: the most frequent class, and a random class."""
    evaluation = report.reference.evaluation
    support = np.asarray(evaluation.metrics.support, np.float64)
    labeled, total = int((support > 0).sum()), float(support.sum())
    if total == 0:
        return 0.0
    most_frequent = float(support.max()) / total if labeled > 1 else 0.0
    if report.segmentation:
        # One class everywhere: its IoU is its share of the pixels, that of all others 0.
        return most_frequent / max(1, labeled)
    random = 1 / len(evaluation.classes)
    error = 2 * (random * (1 - random) / total) ** 0.5
    return float(min(max(random + error, most_frequent), 0.99))


def doubts(report: Report) -> list[str]:
    """List what makes a conclusion uncertain, such as "the machine was busy: load 10.0 on 2 cores"."""
    found = []
    images, task = report.data.images, report.reference.model.card.task
    if images < _MIN_IMAGES[task]:
        found.append(f"only {images} {'image' if images == 1 else 'images'}")
    cpu = report.machine.processor
    if cpu.busy:
        found.append(f"the machine was busy: load {cpu.load} on {cpu.cores} cores")
    devices = {_device_kind(row.model.device) for row in report.rows if not row.runtime_status.predicted}
    if len(devices) > 1:
        found.append(f"speeds of different devices: {join_words(sorted(devices))}")
    return found


def _device_kind(device: str) -> str:
    """Return "cpu", "cuda" or "a server"."""
    return "a server" if is_url(device) else device.partition(":")[0]
