"""How well masks fit: one confusion matrix for a whole set, and the figures read off it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError

IGNORE = 255
"""Label of pixels that are not judged."""


def confusion_matrix(labels: NDArray[np.uint8], answers: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Count pixels by right class and answer.

    Args:
        labels: right class of each pixel, uint8, any shape; `IGNORE` is left out.
        answers: the mask, uint8, same shape.
        classes: number of classes, at most 255.

    Returns:
        int64 (classes, classes): row = right class, column = answer.

    Raises:
        UsageError: the shapes differ, or a value is no class.
    """
    if labels.shape != answers.shape:
        raise UsageError(f"mask must have the label's size, got {answers.shape} and {labels.shape}. Resize the mask.")
    # Ignored pixels get a row of their own, cut off below: cheaper than picking the others out.
    rows = np.minimum(labels, classes).astype(np.intp)
    if answers.size and int(answers.max()) >= classes:
        raise UsageError(f"a mask must hold classes 0..{classes - 1}, got {answers.max()}. Check the graph's labels.")
    if np.any((labels >= classes) & (labels != IGNORE)):
        wrong = int(labels[(labels >= classes) & (labels != IGNORE)][0])
        raise UsageError(f"labels must be 0..{classes - 1} or {IGNORE}, got {wrong}. Map them to train ids.")
    rows *= classes
    rows += answers
    counts = np.bincount(rows.ravel(), minlength=(classes + 1) * classes).astype(np.int64)
    return counts.reshape(classes + 1, classes)[:classes]


def intersection_over_union(hits: NDArray[Any], labelled: NDArray[Any], answered: NDArray[Any]) -> NDArray[np.float64]:
    """IoU from pixel counts.

    Args:
        hits: pixels of the class that are answered right, any shape.
        labelled: pixels of the class, same shape.
        answered: judged pixels answered with the class, same shape.

    Returns:
        hits / (labelled + answered - hits), 0..1; nan where a class is neither labelled nor answered.
    """
    union = (labelled + answered - hits).astype(np.float64)
    return np.asarray(np.divide(hits, union, out=np.full(union.shape, np.nan), where=union > 0), np.float64)


@dataclass(frozen=True, eq=False)
class SegmentationMetrics:
    """What a confusion matrix says.

    A class can be absent, and conventions differ on what it adds to the mean. On the whole Cityscapes validation set
    no class is, and all three agree:

    - `miou_official`: absent from labels and answers counts as 0, divided by all classes. Source:
      HRNet-Semantic-Segmentation, lib/core/function.py, testval: `tp / np.maximum(1.0, pos + res - tp)`, then mean().
    - `miou_present`: absent from both is left out; one stray pixel of an unlabelled class adds a 0. Source:
      cityscapesScripts, evalPixelLevelSemanticLabeling.py (nan is skipped); mmseg (nanmean); torchmetrics.
    - `miou`: classes without a labelled pixel are left out, whatever is answered. Reference and candidate are then
      judged by the same classes, so it is what comparisons use.

    Attributes:
        confusion: pixels, int64 (classes, classes): row = right class, column = answer.
    """

    confusion: NDArray[np.int64]

    @property
    def class_iou(self) -> NDArray[np.float64]:
        """IoU by class, float64 (classes,), 0..1; nan for a class neither labelled nor answered."""
        return intersection_over_union(self._hits, self.support, self.confusion.sum(axis=0))

    @property
    def miou(self) -> float:
        """Mean IoU of the classes that are labelled, 0..1."""
        labelled = self.support > 0
        return float(self.class_iou[labelled].mean()) if labelled.any() else 0.0

    @property
    def miou_present(self) -> float:
        """Mean IoU of the classes that are labelled or answered, 0..1: Cityscapes' convention."""
        iou = self.class_iou
        return float(np.nanmean(iou)) if not np.isnan(iou).all() else 0.0

    @property
    def miou_official(self) -> float:
        """Mean IoU of all classes, an absent one as 0, 0..1: the official HRNet code's convention."""
        return float(np.nan_to_num(self.class_iou).mean())

    @property
    def pixel_accuracy(self) -> float:
        """Share of judged pixels answered right, 0..1."""
        return float(self._hits.sum() / max(1, self.confusion.sum()))

    @property
    def mean_accuracy(self) -> float:
        """Mean over the labelled classes of the share of their pixels answered right, 0..1."""
        labelled = self.support > 0
        return float((self._hits[labelled] / self.support[labelled]).mean()) if labelled.any() else 0.0

    @property
    def mean_accuracy_official(self) -> float:
        """As `mean_accuracy` over all classes, an absent one as 0: the official HRNet code's convention."""
        return float((self._hits / np.maximum(1, self.support)).mean())

    @property
    def name(self) -> str:
        """What `value` is called."""
        return "mIoU"

    @property
    def value(self) -> float:
        """The one figure to compare by: `miou`."""
        return self.miou

    @property
    def class_values(self) -> NDArray[np.float64]:
        """`value` class by class: `class_iou`."""
        return self.class_iou

    @property
    def support(self) -> NDArray[np.int64]:
        """What each class rests on: its labelled pixels, int64 (classes,)."""
        return np.asarray(self.confusion.sum(axis=1), np.int64)

    @property
    def _hits(self) -> NDArray[np.int64]:
        return np.asarray(self.confusion.diagonal(), np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; shares are 0..1."""
        return {
            "pixels": int(self.confusion.sum()),
            "miou": self.miou,
            "miou_present": self.miou_present,
            "miou_official": self.miou_official,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "mean_accuracy_official": self.mean_accuracy_official,
        }
