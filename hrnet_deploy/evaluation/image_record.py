"""What is known of one image once every net has answered it; one line of a journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.evaluation.metrics.classification import TOP, Ranking


@dataclass(frozen=True, eq=False)
class MaskCounts:
    """A segmenter's answer to one image, counted.

    Attributes:
        confusion: judged pixels, int64 (classes, classes): row = right class, column = answer.
        transitions: all pixels, int64 (classes, classes): row = the reference's answer, column = this net's.
        lost: judged pixels that the reference has right and this net has not.
        gained: the other way round.
    """

    confusion: NDArray[np.int64]
    transitions: NDArray[np.int64]
    lost: int
    gained: int

    @property
    def changed(self) -> int:
        """Pixels answered otherwise than by the reference."""
        return int(self.transitions.sum() - np.trace(self.transitions))


Answer = Ranking | MaskCounts
"""One net's answer to one image."""


@dataclass(frozen=True, eq=False)
class Record:
    """One image.

    Attributes:
        index: its place in the data set.
        content: SHA-256 of the image file, in hex.
        answers: one a net, the reference first.
    """

    index: int
    content: str
    answers: tuple[Answer, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; matrices as [place, count] pairs of what is not 0."""
        return {"index": self.index, "content": self.content, "answers": [_plain(answer) for answer in self.answers]}

    @classmethod
    def from_json(cls, values: Any, images: int, answers: int, classes: int) -> Record:
        """What `to_json` gave.

        Args:
            values: parsed JSON.
            images: number of images in the data set.
            answers: number of nets.
            classes: number of classes.

        Returns:
            The record.

        Raises:
            ValueError: it is none (KeyError, TypeError, IndexError and OverflowError as well).
        """
        index, content = values["index"], values["content"]
        if type(index) is not int or not 0 <= index < images or not isinstance(content, str):
            raise ValueError(index)
        if len(values["answers"]) != answers:
            raise ValueError(index)
        return cls(index, content, tuple(_answer(answer, classes) for answer in values["answers"]))


def _plain(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Ranking):
        return {"top": answer.top, "scores": answer.scores}
    return {
        "confusion": _sparse(answer.confusion),
        "moves": _sparse(answer.transitions),
        "lost": answer.lost,
        "gained": answer.gained,
    }


def _answer(values: Any, classes: int) -> Answer:
    if "top" in values:
        top, scores = tuple(values["top"]), tuple(float(score) for score in values["scores"])
        if not 0 < len(top) == len(scores) <= TOP or not all(type(i) is int and 0 <= i < classes for i in top):
            raise ValueError(top)
        return Ranking(top, scores)
    return MaskCounts(
        _dense(values["confusion"], classes),
        _dense(values["moves"], classes),
        int(values["lost"]),
        int(values["gained"]),
    )


def _sparse(matrix: NDArray[np.int64]) -> list[list[int]]:
    places = np.flatnonzero(matrix)
    return [[int(place), int(count)] for place, count in zip(places, matrix.ravel()[places], strict=True)]


def _dense(pairs: Any, classes: int) -> NDArray[np.int64]:
    matrix = np.zeros(classes * classes, np.int64)
    for place, count in pairs:
        if place < 0 or count < 0:
            raise ValueError(place)
        matrix[place] = count
    return matrix.reshape(classes, classes)
