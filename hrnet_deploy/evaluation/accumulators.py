"""Compact counts over all images, one set per model."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.image_record import ImageRecord, MaskCounts
from hrnet_deploy.evaluation.metrics.classification import TOP, ClassificationMetrics, Ranking
from hrnet_deploy.evaluation.metrics.segmentation import SegmentationMetrics, intersection_over_union

_MAX_TRANSITIONS = 5
"""Class transitions that are stored per image."""


class _Images:
    """The images added so far, and their contents."""

    def __init__(self, count: int) -> None:
        self.done = np.zeros(count, np.bool_)
        self._contents: dict[int, str] = {}

    def _finish(self, record: ImageRecord) -> None:
        self.done[record.index] = True
        self._contents[record.index] = record.content

    def content_digest(self) -> str:
        """Return the digest of all images' contents in order, in hex."""
        lines = "\n".join(self._contents[index] for index in sorted(self._contents))
        return hashlib.sha256(lines.encode()).hexdigest()


class ClassificationAccumulator(_Images):
    """The rankings of every model for every image.

    Attributes:
        labels: class indices, int64 (images,).
        top: best classes, int32 (models, images, TOP); -1 where a graph has fewer outputs.
        scores: their probabilities, float32 (models, images, TOP).
    """

    def __init__(self, dataset: Dataset, models: int) -> None:
        count = len(dataset)
        super().__init__(count)
        self.labels = np.array([sample.label for sample in dataset.samples], np.int64)
        self.top = np.full((models, count, TOP), -1, np.int32)
        self.scores = np.zeros((models, count, TOP), np.float32)
        self._classes = dataset.classes
        self._hits = np.zeros(models, np.int64)

    def add(self, record: ImageRecord) -> None:
        """Add one image."""
        for model, prediction in enumerate(record.predictions):
            if isinstance(prediction, Ranking):
                self.top[model, record.index, : len(prediction.top)] = prediction.top
                self.scores[model, record.index, : len(prediction.scores)] = prediction.scores
                self._hits[model] += prediction.top[0] == self.labels[record.index]
        self._finish(record)

    def ranking(self, model: int, image: int) -> Ranking:
        """Return one model's ranking for one image."""
        valid = self.top[model, image] >= 0
        return Ranking(tuple(self.top[model, image][valid].tolist()), tuple(self.scores[model, image][valid].tolist()))

    def hits(self, model: int, top: int = 1) -> NDArray[np.bool_]:
        """Return whether each image's label is among a model's `top` best classes, bool (images,)."""
        return np.asarray((self.top[model, :, :top] == self.labels[:, None]).any(axis=1) & self.done)

    def metrics(self, model: int) -> ClassificationMetrics:
        """Return a model's metrics over the images added so far."""
        counts = (
            np.bincount(self.labels[chosen], minlength=self._classes).astype(np.int64)
            for chosen in (self.hits(model), self.hits(model, TOP), self.done)
        )
        return ClassificationMetrics(*counts)

    def progress_text(self) -> str:
        """Return the metric so far of every model, for a progress bar."""
        shares = 100 * self._hits / max(1, int(self.done.sum()))
        return "top-1 " + " | ".join(f"{share:.1f}" for share in shares)


class SegmentationAccumulator(_Images):
    """Confusion matrices of every model, and the pixel counts per image that resampling needs; see `MaskCounts`."""

    def __init__(self, dataset: Dataset, models: int) -> None:
        count, classes = len(dataset), dataset.classes
        super().__init__(count)
        self.confusion = np.zeros((models, classes, classes), np.int64)
        self.transitions = np.zeros((models, classes, classes), np.int64)
        self.labeled = np.zeros((count, classes), np.int64)
        self.hits = np.zeros((models, count, classes), np.int64)
        self.predicted = np.zeros((models, count, classes), np.int64)
        self.pixels = np.zeros(count, np.int64)
        self.changed, self.lost, self.gained = (np.zeros((models, count), np.int64) for _ in range(3))
        self._largest: dict[tuple[int, int], tuple[tuple[int, int, int], ...]] = {}

    def add(self, record: ImageRecord) -> None:
        """Add one image."""
        image = record.index
        for model, counts in enumerate(record.predictions):
            if not isinstance(counts, MaskCounts):
                continue
            self.confusion[model] += counts.confusion
            self.transitions[model] += counts.transitions
            self.hits[model, image] = counts.confusion.diagonal()
            self.predicted[model, image] = counts.confusion.sum(axis=0)
            self.labeled[image] = counts.confusion.sum(axis=1)
            self.pixels[image] = counts.transitions.sum()
            self.changed[model, image] = counts.changed
            self.lost[model, image], self.gained[model, image] = counts.lost, counts.gained
            self._largest[model, image] = _largest_transitions(counts.transitions)
        self._finish(record)

    def largest_transitions(self, model: int, image: int) -> tuple[tuple[int, int, int], ...]:
        """Return the largest (reference's class, model's class, pixels) of one image, most pixels first."""
        return self._largest.get((model, image), ())

    def image_miou(self, model: int) -> NDArray[np.float64]:
        """Return each image's mean IoU over its labeled classes, float64 (images,); 0 without labeled pixels."""
        return mean_labeled_iou(self.labeled, self.hits[model], self.predicted[model])

    def metrics(self, model: int) -> SegmentationMetrics:
        """Return a model's metrics over the images added so far."""
        return SegmentationMetrics(self.confusion[model].copy())

    def progress_text(self) -> str:
        """Return the metric so far of every model, for a progress bar."""
        return "mIoU " + " | ".join(f"{100 * SegmentationMetrics(each).miou:.1f}" for each in self.confusion)


Accumulator = ClassificationAccumulator | SegmentationAccumulator
"""Counts of either task."""


def mean_labeled_iou(labeled: NDArray[Any], hits: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean IoU over the labeled classes of each row of counts (n, classes); 0 where none is labeled."""
    present = labeled > 0
    iou = np.where(present, np.nan_to_num(intersection_over_union(hits, labeled, predicted)), 0.0)
    return np.asarray(iou.sum(axis=1) / np.maximum(1, present.sum(axis=1)), np.float64)


def _largest_transitions(transitions: NDArray[np.int64]) -> tuple[tuple[int, int, int], ...]:
    """Return the largest (from, to, pixels) off the diagonal, most pixels first."""
    off = transitions.copy()
    np.fill_diagonal(off, 0)
    positions = np.argsort(-off, axis=None, kind="stable")[:_MAX_TRANSITIONS]
    return tuple((int(p) // len(off), int(p) % len(off), int(off.flat[p])) for p in positions if off.flat[p])
