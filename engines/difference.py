"""The numeric difference between the outputs of two runtimes."""

from __future__ import annotations

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
