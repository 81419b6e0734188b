"""One output channel for two classes: a sigmoid and a threshold, or equivalently the larger of two scores."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.spec import OutputKind


def cut_of(threshold: float | None, kind: OutputKind) -> float | None:
    """Convert a probability threshold to the scale of the model's scores; None stays None: one channel a class."""
    if threshold is None or kind is OutputKind.PROBABILITIES:
        return threshold
    return math.log(threshold / (1 - threshold))


def two_scores(scores: NDArray[np.floating], cut: float | None, axis: int = 0) -> NDArray[np.floating]:
    """Add a channel for the first class that holds the cut, so that the larger score wins.

    Scores with another number of channels along `axis` than one stay, and all where the cut is None.
    """
    if cut is None or scores.shape[axis] != 1:
        return scores
    return np.concatenate([np.full_like(scores, cut), scores], axis=axis)


def ranked_two(
    row: NDArray[np.floating], threshold: float, kind: OutputKind
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Sort the two classes of a classifier with one channel, int64 (2,) and float32 (2,), the predicted class first."""
    value = float(row.ravel()[-1])
    score = value if kind is OutputKind.PROBABILITIES else sigmoid(value)
    predicted = int(score > threshold)
    shares = np.array([1 - score, score], np.float32)
    indices = np.array([predicted, 1 - predicted], np.int64)
    return indices, shares[indices]


def sigmoid(logit: float) -> float:
    """Convert a logit to a probability, without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))
