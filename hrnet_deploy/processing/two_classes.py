"""One output channel for two classes: a sigmoid and a threshold, or what is the same, the larger of two scores."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.spec import OutputKind


def cut_of(threshold: float | None, kind: OutputKind) -> float | None:
    """The threshold on the scale of the net's own scores.

    Args:
        threshold: probability above which the second class is meant; None for a net with one channel a class.
        kind: what the net's output holds.

    Returns:
        The logit of the threshold, or the threshold itself for probabilities; None where there is none.
    """
    if threshold is None or kind is OutputKind.PROBABILITIES:
        return threshold
    return math.log(threshold / (1 - threshold))


def two_scores(scores: NDArray[np.floating], cut: float | None, axis: int = 0) -> NDArray[np.floating]:
    """A channel for the first class beside the one there is: it holds the cut, so that the larger score wins.

    Args:
        scores: one channel along `axis`; two already where a graph made them.
        cut: from `cut_of`.
        axis: of the channel.

    Returns:
        Two channels; the same array where the cut is None or there are more than one.
    """
    if cut is None or scores.shape[axis] != 1:
        return scores
    return np.concatenate([np.full_like(scores, cut), scores], axis=axis)


def ranked_two(
    row: NDArray[np.floating], threshold: float, kind: OutputKind
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The answer of a classifier with one output.

    Args:
        row: its output for one image: a logit, a probability, or two probabilities.
        threshold: probability above which the second class is the answer.
        kind: what the row holds.

    Returns:
        The two class indices, int64, the answer first, and their probabilities, float32.
    """
    value = float(row.ravel()[-1])
    score = value if kind is OutputKind.PROBABILITIES else sigmoid(value)
    answer = int(score > threshold)
    shares = np.array([1 - score, score], np.float32)
    indices = np.array([answer, 1 - answer], np.int64)
    return indices, shares[indices]


def sigmoid(logit: float) -> float:
    """The probability that a logit stands for; large ones of either sign do not overflow.

    Args:
        logit: any number.

    Returns:
        0..1.
    """
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))
