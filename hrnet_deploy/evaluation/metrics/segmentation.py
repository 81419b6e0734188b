"""Segmentation metrics: one confusion matrix for a whole dataset, and the values derived from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError

IGNORE = 255
"""Label of pixels that no metric counts."""


def confusion_matrix(labels: NDArray[np.uint8], predictions: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count pixels by label and prediction.

    Args:
        labels: class of each pixel, uint8, any shape; `IGNORE` is left out.
        predictions: the mask, uint8, same shape.
        classes: number of classes, at most 255.

    Returns:
        int64 (classes, classes): row = label, column = prediction.

    Raises:
        UsageError: the shapes differ, or a value is no class.
    """
    if labels.shape != predictions.shape:
        raise UsageError(
            f"mask must have the label's size, got {predictions.shape} and {labels.shape}. Resize the mask."
        )
    # Ignored pixels get a row of their own, cut off below: faster than selecting the others.
    rows = np.minimum(labels, classes).astype(np.intp)
    if predictions.size and int(predictions.max()) >= classes:
        raise UsageError(
            f"a mask must hold classes 0..{classes - 1}, got {predictions.max()}. Check the graph's labels."
        )
    if np.any((labels >= classes) & (labels != IGNORE)):
        wrong = int(labels[(labels >= classes) & (labels != IGNORE)][0])
        raise UsageError(f"labels must be 0..{classes - 1} or {IGNORE}, got {wrong}. Map them to train ids.")
    rows *= classes
    rows += predictions
    counts = np.bincount(rows.ravel(), minlength=(classes + 1) * classes).astype(np.int64)
    return counts.reshape(classes + 1, classes)[:classes]


def intersection_over_union(hits: NDArray[Any], labeled: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.float64]:
    """Return hits / (labeled + predicted - hits), 0..1; nan where a class is neither labeled nor predicted."""
    union = (labeled + predicted - hits).astype(np.float64)
    return np.asarray(np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0), np.float64)


@dataclass(frozen=True, eq=False)
class SegmentationMetrics:
    """The metrics of a confusion matrix; `value` and `class_values` are the main one, `miou` and `class_iou`.

    Conventions differ for a class that is absent. On the whole Cityscapes validation set no class is, and all agree:

    - `miou_official`: a class absent from labels and predictions counts as 0; the sum is divided by all classes.
      Source: HRNet-Semantic-Segmentation, lib/core/function.py, testval: `tp / np.maximum(1.0, pos + res - tp)`.
    - `miou_present`: a class absent from both is left out; one stray pixel of an unlabeled class adds a 0. Source:
      cityscapesScripts, evalPixelLevelSemanticLabeling.py (nan is skipped); mmseg (nanmean); torchmetrics.
    - `miou`: classes without a labeled pixel are left out, whatever is predicted. Reference and candidate are then
      measured on the same classes, so comparisons use it.

    Attributes:
        confusion: pixels, int64 (classes, classes): row = label, column = prediction.
    """

    confusion: NDArray[np.int64]
    name = "mIoU"

    @property
    def class_iou(self) -> NDArray[np.float64]:
        """IoU per class, float64 (classes,), 0..1; nan for a class neither labeled nor predicted."""
        return intersection_over_union(self._hits, self.support, self.confusion.sum(axis=0))

    @property
    def miou(self) -> float:
        """Mean IoU of the labeled classes, 0..1."""
        labeled = self.support > 0
        return float(self.class_iou[labeled].mean()) if labeled.any() else 0.0

    @property
    def miou_present(self) -> float:
        """Mean IoU of the classes that are labeled or predicted, 0..1: Cityscapes' convention."""
        iou = self.class_iou
        return float(np.nanmean(iou)) if not np.isnan(iou).all() else 0.0

    @property
    def miou_official(self) -> float:
        """Mean IoU of all classes, an absent one as 0, 0..1: the official HRNet code's convention."""
        return float(np.nan_to_num(self.class_iou).mean())

    @property
    def pixel_accuracy(self) -> float:
        """Share of labeled pixels that are predicted correctly, 0..1."""
        return float(self._hits.sum() / max(1, self.confusion.sum()))

    @property
    def mean_accuracy(self) -> float:
        """Mean pixel accuracy of the labeled classes, 0..1."""
        labeled = self.support > 0
        return float((self._hits[labeled] / self.support[labeled]).mean()) if labeled.any() else 0.0

    @property
    def mean_accuracy_official(self) -> float:
        """Mean pixel accuracy of all classes, an absent one as 0: the official HRNet code's convention."""
        return float((self._hits / np.maximum(1, self.support)).mean())

    value = miou
    class_values = class_iou

    @property
    def support(self) -> NDArray[np.int64]:
        """Labeled pixels per class, int64 (classes,)."""
        return np.asarray(self.confusion.sum(axis=1), np.int64)

    @property
    def _hits(self) -> NDArray[np.int64]:
        return np.asarray(self.confusion.diagonal(), np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; shares are 0..1."""
        names = ("miou", "miou_present", "miou_official", "pixel_accuracy", "mean_accuracy", "mean_accuracy_official")
        return {"pixels": int(self.confusion.sum())} | {name: getattr(self, name) for name in names}
