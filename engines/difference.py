"""The numeric difference between the outputs of two runtimes; of features, their cosine similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.processing.two_classes import two_scores


@dataclass(frozen=True)
class Difference:
    """The distance of an output from its reference.

    Attributes:
        max_rel: `max_abs` in units of the reference's spread (standard deviation, at least 1e-6).
        agreement: share of positions with the same class (argmax over axis 1, or equal labels), 0..1.
    """

    max_abs: float
    max_rel: float
    agreement: float

    def worst(self, other: Difference) -> Difference:
        """Return the larger distances and the smaller agreement of two."""
        return Difference(
            max(self.max_abs, other.max_abs), max(self.max_rel, other.max_rel), min(self.agreement, other.agreement)
        )


@dataclass(frozen=True)
class Cosine:
    """Cosine similarity of a feature to its reference: the mean over images, and the lowest of one image."""

    mean: float
    worst: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Cosine:
        """Summarize the similarities of images."""
        return cls(float(np.mean(values)), float(np.min(values)))


NO_DIFFERENCE = Difference(0.0, 0.0, 1.0)
"""The start of a maximum over differences."""


def compare(ours: NDArray[np.generic], reference: NDArray[np.generic], cut: float | None = None) -> Difference:
    """Measure the difference of one output from its reference.

    The unit is the reference's spread, not each value: a logit near zero has no meaningful relative error.

    Args:
        ours: logits or scores (N, classes, ...), or integer labels of any shape.
        reference: the same shape.
        cut: threshold of the second class, for models with one channel. The spread then counts at least one, the unit
            of a logit: few outputs of one score each may hardly differ.

    Returns:
        The difference; infinite where a value is not finite or the shapes differ.
    """
    if ours.shape != reference.shape:
        return Difference(np.inf, np.inf, 0.0)
    if ours.dtype.kind in "iu":
        return Difference(0.0, 0.0, float(np.mean(ours == reference)))
    a, b = ours.astype(np.float64), reference.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Difference(np.inf, np.inf, 0.0)
    max_abs = float(np.abs(a - b).max(initial=0))
    labels = [two_scores(scores, cut, axis=1).argmax(axis=1) if a.ndim > 1 else scores for scores in (a, b)]
    agreement = float(np.mean(labels[0] == labels[1]))
    min_spread = 1e-6 if cut is None else 1.0
    return Difference(max_abs, max_abs / max(float(b.std()), min_spread), agreement)


def cosines(ours: NDArray[np.generic], reference: NDArray[np.generic]) -> list[float]:
    """Compute the cosine similarity of a feature for each image of a batch.

    Args:
        ours: float (N, ...); a map counts as one vector.
        reference: the same shape.

    Returns:
        N values from -1 to 1: 1 where both are zero, -1 where one alone is zero, or a value is not finite. All are -1
        if the shapes differ.
    """
    if ours.shape != reference.shape:
        return [-1.0] * len(reference)
    pairs = zip(ours.reshape(len(ours), -1), reference.reshape(len(reference), -1), strict=True)
    return [_cosine(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs]


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if norms == (0.0, 0.0):
        return 1.0
    found = float(a @ b) / (norms[0] * norms[1]) if all(norms) else -1.0
    return min(found, 1.0) if np.isfinite(found) else -1.0
