"""Network output to answer."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Probabilities from logits.

    Args:
        logits: (N, classes), any float type.

    Returns:
        float32 (N, classes); each row sums to 1, also where logits are huge.
    """
    shifted = logits.astype(np.float32)
    shifted -= shifted.max(axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted


def ranked(scores: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Classes from best to worst; of equal scores the lower index comes first.

    Args:
        scores: (classes,).

    Returns:
        Indices int64 (classes,) and their scores float32 (classes,).
    """
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    return order, scores[order]


def upsampled_argmax(
    logits: NDArray[np.floating], size_hw: tuple[int, int], *, align_corners: bool = False
) -> NDArray[np.uint8]:
    """The best class at each pixel after bilinear upsampling of every class plane.

    One plane at a time against a running maximum: 19 planes of 1024x2048 together would take 159 MB.

    Args:
        logits: (classes, h, w) with at most 255 classes.
        size_hw: wanted (height, width).
        align_corners: whether corner pixels of both grids coincide (torch's meaning), else pixel areas do.

    Returns:
        uint8 (height, width); of equal logits the lower class wins, as argmax does.

    Source: torch.nn.functional.interpolate(mode="bilinear"); cv2.INTER_LINEAR enlarges as its align_corners=False.
    """
    planes = np.ascontiguousarray(logits, np.float32)
    if planes.shape[1:] == size_hw:
        return np.asarray(planes.argmax(axis=0), np.uint8)
    labels = np.zeros(size_hw, np.uint8)
    best = _plane(planes[0], size_hw, align_corners=align_corners)
    wins = np.empty(size_hw, np.bool_)
    for index in range(1, len(planes)):
        plane = _plane(planes[index], size_hw, align_corners=align_corners)
        np.greater(plane, best, out=wins)
        np.copyto(labels, np.uint8(index), where=wins)
        np.maximum(plane, best, out=best)
    return labels


def label_map_at(labels: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """A label map at another size, nearest pixel.

    Args:
        labels: uint8 (h, w).
        size_hw: wanted (height, width).

    Returns:
        uint8 (height, width); the same array where the size is right already.
    """
    if labels.shape == size_hw:
        return labels
    resized = cv2.resize(labels, size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized.astype(np.uint8, copy=False)


def _plane(plane: NDArray[np.float32], size_hw: tuple[int, int], *, align_corners: bool) -> NDArray[np.float32]:
    if not align_corners:
        return np.asarray(cv2.resize(plane, size_hw[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    rows = _interpolate(plane, size_hw[0])
    return np.ascontiguousarray(_interpolate(rows.T, size_hw[1]).T)


def _interpolate(plane: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Linear interpolation of the rows, corners aligned."""
    position = np.linspace(0, len(plane) - 1, length)
    low = np.minimum(position.astype(np.intp), max(len(plane) - 2, 0))
    share = (position - low).astype(np.float32)[:, None]
    high = np.minimum(low + 1, len(plane) - 1)
    mixed: NDArray[np.float32] = plane[low] * (1 - share) + plane[high] * share
    return mixed
