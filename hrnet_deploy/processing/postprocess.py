"""Model outputs to predictions."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.processing.two_classes import ranked_two
from hrnet_deploy.spec import OutputKind

_STRIP_PX = 1 << 17
"""Pixels of a plane that are upsampled at a time: half a megabyte."""


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Compute probabilities, float32 (N, classes), from logits (N, classes) of any float type, without overflow."""
    shifted = logits.astype(np.float32)
    shifted -= shifted.max(axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted


def ranked(scores: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Sort class indices and scores, both (classes,), best first; of equal scores the lower index comes first."""
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    return order, scores[order]


def best_classes(
    row: NDArray[np.floating], kind: OutputKind, threshold: float | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Sort the classes of one image, best first: indices int64 (classes,) and probabilities float32 (classes,).

    The row is a classifier's output of one kind, logits or probabilities. The threshold is that of a model with one
    output channel; None for one channel a class.
    """
    if threshold is not None:
        return ranked_two(row, threshold, kind)
    scores = row.reshape(1, -1)
    return ranked((scores.astype(np.float32) if kind is OutputKind.PROBABILITIES else softmax(scores))[0])


def upsampled_argmax(
    logits: NDArray[np.floating], size_hw: tuple[int, int], *, align_corners: bool = False
) -> NDArray[np.uint8]:
    """Find the best class at each pixel, uint8 (height, width), after bilinear upsampling of every class plane.

    Planes are compared one by one with a running maximum, in strips that stay in the cache: 19 planes of 1024x2048
    together would take 159 MB. A strip skips classes that cannot win in it. The logits are (classes, h, w) with at most
    255 classes; of equal ones the lower class wins, as in argmax. Corner pixels of both grids coincide, or pixel areas.

    Source: torch.nn.functional.interpolate(mode="bilinear"); cv2.INTER_LINEAR enlarges as its align_corners=False.
    """
    planes = np.ascontiguousarray(logits, np.float32)
    if planes.shape[1:] == size_hw:
        return np.asarray(planes.argmax(axis=0), np.uint8)
    rows = planes.shape[1]
    factor = size_hw[0] // rows
    # With other factors, positions in a strip would be rounded differently from those in the whole plane.
    exact = factor in {2, 4, 8} and (rows * factor, planes.shape[2] * factor) == size_hw and not align_corners
    step = max(1, _STRIP_PX // (size_hw[1] * factor)) if exact else rows
    possible = _possible(planes)
    labels = np.empty(size_hw, np.uint8)
    for top in range(0, rows, step):
        bottom = min(top + step, rows)
        first, last = (max(top - 1, 0), min(bottom + 1, rows)) if exact else (0, rows)
        strip = labels[top * factor : bottom * factor] if exact else labels
        tall = (last - first) * factor if exact else size_hw[0]
        classes = np.flatnonzero(possible[:, top:bottom].any(axis=1)).tolist()
        _best_of(
            planes[:, first:last], classes or [0], strip, (top - first) * factor, tall, align_corners=align_corners
        )
    return labels


def _best_of(
    planes: NDArray[np.float32],
    classes: list[int],
    labels: NDArray[np.uint8],
    above: int,
    tall: int,
    *,
    align_corners: bool,
) -> None:
    """Write the best of some classes; `above` of `tall` upsampled rows precede those of `labels`."""
    labels[...] = classes[0]
    if len(classes) == 1:
        return
    size_hw = (tall, labels.shape[1])
    own = slice(above, above + labels.shape[0])
    best = _plane(planes[classes[0]], size_hw, align_corners=align_corners)[own]
    whole = np.empty(size_hw, np.float32)
    wins = np.empty(labels.shape, np.uint8)
    for index in classes[1:]:
        plane = _plane(planes[index], size_hw, align_corners=align_corners, out=whole)[own]
        cv2.compare(plane, best, cv2.CMP_GT, dst=wins)
        np.bitwise_and(wins, np.uint8(index), out=wins)
        np.maximum(labels, wins, out=labels)  # a later class has the larger number
        np.maximum(plane, best, out=best)


def _possible(planes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Decide for each class and row, (classes, h), whether the class can be the best near the row.

    An interpolated value lies between its neighbors: a class whose largest neighbor is below the smallest neighbor of
    another class loses. The margin is far above the rounding errors of float32.
    """
    square = np.ones((3, 3), np.uint8)
    sure = np.full(planes.shape[1:], -np.inf, np.float32)
    for plane in planes:
        np.maximum(sure, cv2.erode(plane, square, borderType=cv2.BORDER_REPLICATE), out=sure)
    sure -= np.float32(1e-5) * max(1.0, float(np.abs(planes).max(initial=0.0)))
    possible = np.empty(planes.shape[:2], np.bool_)
    for index, plane in enumerate(planes):
        highest = cv2.dilate(plane, square, borderType=cv2.BORDER_REPLICATE)
        possible[index] = (highest >= sure).any(axis=1)
    return possible


def label_map_at(labels: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a label map, uint8 (h, w), to the nearest pixel; an array of the right size is returned as it is.

    Positions are exact: cv2.INTER_NEAREST_EXACT gives other masks in OpenCV 4.11 than in 5.0.
    """
    if labels.shape == size_hw:
        return labels
    rows, columns = (_nearest(old, new) for old, new in zip(labels.shape, size_hw, strict=True))
    if size_hw[0] < labels.shape[0]:
        return labels.take(rows, 0).take(columns, 1)
    return labels.take(columns, 1).take(rows, 0)


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    """Return the pixel of an axis of `old` pixels that holds the center of each of `new` pixels."""
    return (2 * np.arange(new, dtype=np.int64) + 1) * old // (2 * new)


def _plane(
    plane: NDArray[np.float32], size_hw: tuple[int, int], *, align_corners: bool, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    if not align_corners:
        return np.asarray(cv2.resize(plane, size_hw[::-1], dst=out, interpolation=cv2.INTER_LINEAR), np.float32)
    rows = _interpolate(plane, size_hw[0])
    return np.ascontiguousarray(_interpolate(rows.T, size_hw[1]).T)


def _interpolate(plane: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Interpolate the rows linearly, corners aligned."""
    position = np.linspace(0, len(plane) - 1, length)
    low = np.minimum(position.astype(np.intp), max(len(plane) - 2, 0))
    share = (position - low).astype(np.float32)[:, None]
    high = np.minimum(low + 1, len(plane) - 1)
    mixed: NDArray[np.float32] = plane[low] * (1 - share) + plane[high] * share
    return mixed
