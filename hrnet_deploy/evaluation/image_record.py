"""The record of one evaluated image: the predictions of every model; one line of a journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.evaluation.metrics.classification import TOP, Ranking

_MAX_MASK_CLASSES = 256


@dataclass(frozen=True, eq=False)
class MaskCounts:
    """Pixel counts of one predicted mask.

    Attributes:
        confusion: labeled pixels, int64 (classes, classes): row = label, column = prediction.
        transitions: all pixels, int64 (classes, classes): row = the reference's prediction, column = this model's.
        lost: labeled pixels that only the reference predicts correctly; `gained` is the opposite.
    """

    confusion: NDArray[np.int64]
    transitions: NDArray[np.int64]
    lost: int
    gained: int

    @property
    def changed(self) -> int:
        """Pixels whose class differs from the reference's prediction."""
        return int(self.transitions.sum() - np.trace(self.transitions))


Prediction = Ranking | MaskCounts
"""One model's prediction for one image."""


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One evaluated image.

    Attributes:
        index: position in the dataset.
        content: SHA-256 of the image file, in hex.
        predictions: one per model, the reference first.
    """

    index: int
    content: str
    predictions: tuple[Prediction, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values; matrices become [position, count] pairs of their nonzero entries."""
        return {"index": self.index, "content": self.content, "answers": [_to_plain(one) for one in self.predictions]}

    @classmethod
    def from_json(cls, values: Any, images: int, models: int, classes: int) -> ImageRecord:
        """Read what `to_json` returned; invalid values raise one of Python's errors, such as ValueError."""
        index, content, predictions = values["index"], values["content"], values["answers"]
        valid = type(index) is int and 0 <= index < images and isinstance(content, str)
        if not valid or len(predictions) != models:
            raise ValueError(index)
        return cls(index, content, tuple(_from_plain(one, classes) for one in predictions))


def _to_plain(prediction: Prediction) -> dict[str, Any]:
    if isinstance(prediction, Ranking):
        return {"top": prediction.top, "scores": prediction.scores}
    return {
        "confusion": _sparse(prediction.confusion),
        "moves": _sparse(prediction.transitions),
        "lost": prediction.lost,
        "gained": prediction.gained,
    }


def _from_plain(values: Any, classes: int) -> Prediction:
    if "top" in values:
        top, scores = tuple(values["top"]), tuple(float(score) for score in values["scores"])
        if not 0 < len(top) == len(scores) <= TOP or not all(type(i) is int and 0 <= i < classes for i in top):
            raise ValueError(top)
        return Ranking(top, scores)
    if classes > _MAX_MASK_CLASSES:  # before memory is taken for the matrices
        raise ValueError(classes)
    confusion, transitions = (_dense(values[name], classes) for name in ("confusion", "moves"))
    return MaskCounts(confusion, transitions, int(values["lost"]), int(values["gained"]))


def _sparse(matrix: NDArray[np.int64]) -> list[list[int]]:
    positions = np.flatnonzero(matrix)
    return [[int(position), int(count)] for position, count in zip(positions, matrix.ravel()[positions], strict=True)]


def _dense(pairs: Any, classes: int) -> NDArray[np.int64]:
    matrix = np.zeros(classes * classes, np.int64)
    for position, count in pairs:
        if position < 0 or count < 0:
            raise ValueError(position)
        matrix[position] = count
    return matrix.reshape(classes, classes)
