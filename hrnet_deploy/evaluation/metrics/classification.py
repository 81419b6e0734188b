"""Top-1 and top-5 accuracy of a classifier, over all images and per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP = 5
"""Number of best classes that are counted and stored."""


@dataclass(frozen=True)
class Ranking:
    """A classifier's prediction for one image: the best classes, at most `TOP`, best first."""

    top: tuple[int, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ClassificationMetrics:
    """Top-1 and top-5 accuracy over a dataset; `value` and `class_values` are the main metric, top-1.

    Attributes:
        hits: images of each class whose best prediction is correct, int64 (classes,).
        hits5: images of each class whose label is among the five best, int64 (classes,).
        images: images of each class, int64 (classes,).
    """

    hits: NDArray[np.int64]
    hits5: NDArray[np.int64]
    images: NDArray[np.int64]
    name = "top-1"

    @property
    def top1(self) -> float:
        """Share of images whose best prediction is correct, 0..1."""
        return float(self.hits.sum() / max(1, self.images.sum()))

    @property
    def top5(self) -> float:
        """Share of images whose label is among the five best, 0..1."""
        return float(self.hits5.sum() / max(1, self.images.sum()))

    @property
    def class_top1(self) -> NDArray[np.float64]:
        """Top-1 accuracy per class, float64 (classes,), 0..1; nan for a class without images."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.hits / self.images, np.float64)

    @property
    def mean_class_top1(self) -> float:
        """Mean of `class_top1` over the classes that have images, 0..1."""
        present = self.images > 0
        return float(np.mean(self.hits[present] / self.images[present])) if present.any() else 0.0

    value = top1
    class_values = class_top1

    @property
    def support(self) -> NDArray[np.int64]:
        """Images per class, int64 (classes,)."""
        return self.images

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; shares are 0..1."""
        return {
            "images": int(self.images.sum()),
            "top1": self.top1,
            "top5": self.top5,
            "mean_class_top1": self.mean_class_top1,
        }
