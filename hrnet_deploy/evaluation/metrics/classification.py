"""How often a classifier is right: top-1 and top-5, over all images and by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError

TOP = 5
"""How many of the best classes count and are kept."""


@dataclass(frozen=True)
class Ranking:
    """A classifier's answer to one image.

    Attributes:
        top: indices of the best classes, best first, at most `TOP`.
        scores: their probabilities, 0..1.
    """

    top: tuple[int, ...]
    scores: tuple[float, ...]

    def place(self, label: int) -> int | None:
        """Where the right class stands.

        Args:
            label: the right class.

        Returns:
            0 for the best, 1 for the next ...; None where it is not among those kept.
        """
        return self.top.index(label) if label in self.top else None


@dataclass(frozen=True, eq=False)
class ClassificationMetrics:
    """Top-1 and top-5 accuracy of a set.

    Attributes:
        hits: images of each class whose best answer is right, int64 (classes,).
        hits5: images of each class whose label is among the five best, int64 (classes,).
        images: images of each class, int64 (classes,).
    """

    hits: NDArray[np.int64]
    hits5: NDArray[np.int64]
    images: NDArray[np.int64]

    @property
    def top1(self) -> float:
        """Share of images whose best answer is right, 0..1."""
        return float(self.hits.sum() / max(1, self.images.sum()))

    @property
    def top5(self) -> float:
        """Share of images whose label is among the five best, 0..1."""
        return float(self.hits5.sum() / max(1, self.images.sum()))

    @property
    def class_top1(self) -> NDArray[np.float64]:
        """Share of right answers by class, float64 (classes,), 0..1; nan for a class without images."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.hits / self.images, np.float64)

    @property
    def mean_class_top1(self) -> float:
        """Mean of `class_top1` over the classes that have images, 0..1."""
        present = self.images > 0
        return float(np.mean(self.hits[present] / self.images[present])) if present.any() else 0.0

    @property
    def name(self) -> str:
        """What `value` is called."""
        return "top-1"

    @property
    def value(self) -> float:
        """The one figure to compare by: `top1`."""
        return self.top1

    @property
    def class_values(self) -> NDArray[np.float64]:
        """`value` class by class: `class_top1`."""
        return self.class_top1

    @property
    def support(self) -> NDArray[np.int64]:
        """What each class rests on: its images, int64 (classes,)."""
        return self.images

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; shares are 0..1."""
        return {
            "images": int(self.images.sum()),
            "top1": self.top1,
            "top5": self.top5,
            "mean_class_top1": self.mean_class_top1,
        }


def classification_metrics(rankings: Sequence[Ranking], labels: Sequence[int], classes: int) -> ClassificationMetrics:
    """Count right answers.

    Args:
        rankings: the answers.
        labels: the right class of each.
        classes: number of classes.

    Returns:
        The counts.

    Raises:
        UsageError: another number of labels than answers, or a label out of range.
    """
    if len(rankings) != len(labels):
        raise UsageError(f"each answer needs a label, got {len(rankings)} answers and {len(labels)} labels. Pair them.")
    if not all(0 <= label < classes for label in labels):
        raise UsageError(f"labels must be 0..{classes - 1}, got {min(labels)}..{max(labels)}. Count classes from 0.")
    places = [ranking.place(label) for ranking, label in zip(rankings, labels, strict=True)]
    truth = np.asarray(labels, np.int64)
    first = np.array([place == 0 for place in places], np.bool_)
    within = np.array([place is not None for place in places], np.bool_)
    return ClassificationMetrics(
        hits=np.bincount(truth[first], minlength=classes).astype(np.int64),
        hits5=np.bincount(truth[within], minlength=classes).astype(np.int64),
        images=np.bincount(truth, minlength=classes).astype(np.int64),
    )
