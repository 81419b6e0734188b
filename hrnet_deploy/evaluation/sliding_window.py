"""Sliding windows: a large image through a model of a smaller size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError

OVERLAP = 1 / 3
"""Default share of a window that its neighbor covers too. Source: mmseg's slide settings, stride 513 for crop 769."""


@dataclass(frozen=True)
class SlidingWindow:
    """Windows over an image at its own size.

    Attributes:
        window_hw: (height, width) of one window in pixels.
        stride_hw: (down, right) from one to the next in pixels, at most the window.
    """

    window_hw: tuple[int, int]
    stride_hw: tuple[int, int]

    def __post_init__(self) -> None:
        for window, stride in zip(self.window_hw, self.stride_hw, strict=True):
            if not 0 < stride <= window:
                raise UsageError(f"window stride must be 1..{window}, got {stride}. Use an overlap from 0 to below 1.")

    @classmethod
    def with_overlap(cls, window_hw: tuple[int, int], overlap: float = OVERLAP) -> SlidingWindow:
        """Create windows of (height, width) pixels that share a part, 0 to below 1, with their neighbors.

        Raises:
            UsageError: a size or an overlap that cannot be used.
        """
        if not 0 <= overlap < 1:
            raise UsageError(f"window overlap must be from 0 to below 1, got {overlap}. Use 0.33.")
        height, width = window_hw
        return cls(window_hw, (max(1, round(height * (1 - overlap))), max(1, round(width * (1 - overlap)))))

    def padded_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the size of an image that is padded to hold at least one window."""
        return max(size_hw[0], self.window_hw[0]), max(size_hw[1], self.window_hw[1])

    def corners(self, size_hw: tuple[int, int]) -> list[tuple[int, int]]:
        """Return each window's (top, left), row by row; the last of a row or column is moved back inside."""
        # Source: mmseg, models/segmentors/encoder_decoder.py, slide_inference.
        tops, lefts = (
            _starts(size, window, stride)
            for size, window, stride in zip(size_hw, self.window_hw, self.stride_hw, strict=True)
        )
        return [(top, left) for top in tops for left in lefts]


def pad_image(image: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Add black below and to the right of an image; return the image itself if it has the size already."""
    # Source: HRNet-Semantic-Segmentation, lib/datasets/base_dataset.py, pad_image: black, hence -mean / std.
    down, right = size_hw[0] - image.shape[0], size_hw[1] - image.shape[1]
    return image if not down and not right else np.pad(image, ((0, down), (0, right), (0, 0)))


def blended_argmax(
    logits: Sequence[NDArray[np.floating]],
    corners: Sequence[tuple[int, int]],
    window_hw: tuple[int, int],
    size_hw: tuple[int, int],
    *,
    align_corners: bool = False,
) -> NDArray[np.uint8]:
    """Average the upsampled logits (classes, h, w) of overlapping windows and take the best class of each pixel."""
    # Source: mmseg, slide_inference: `preds += logits; count += 1; preds / count`. Here one class at a time, so memory
    # does not grow with their number. Windows may extend beyond the image.
    full_hw = (
        max([size_hw[0], *(top + window_hw[0] for top, _ in corners)]),
        max([size_hw[1], *(left + window_hw[1] for _, left in corners)]),
    )
    count = np.zeros(full_hw, np.float32)
    places = [(slice(top, top + window_hw[0]), slice(left, left + window_hw[1])) for top, left in corners]
    for place in places:
        count[place] += 1
    count = count[: size_hw[0], : size_hw[1]]
    labels = np.zeros(size_hw, np.uint8)
    best = np.full(size_hw, -np.inf, np.float32)
    for index in range(len(logits[0])):
        total = np.zeros(full_hw, np.float32)
        for window, place in zip(logits, places, strict=True):
            plane = np.ascontiguousarray(window[index], np.float32)
            total[place] += _upsample(plane, window_hw, align_corners=align_corners)
        mean = total[: size_hw[0], : size_hw[1]] / count
        wins = mean > best
        labels[wins] = index
        np.maximum(mean, best, out=best)
    return labels


def _starts(size: int, window: int, stride: int) -> list[int]:
    count = max(size - window + stride - 1, 0) // stride + 1
    return [min(index * stride, size - window) for index in range(count)]


def _upsample(plane: NDArray[np.float32], size_hw: tuple[int, int], *, align_corners: bool) -> NDArray[np.float32]:
    if not align_corners:
        return np.asarray(cv2.resize(plane, size_hw[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    down, right = (_interpolation_matrix(old, new) for old, new in zip(plane.shape, size_hw, strict=True))
    return np.asarray(down @ plane @ right.T, np.float32)


def _interpolation_matrix(old: int, new: int) -> NDArray[np.float32]:
    """Return linear interpolation with aligned corners as a matrix, float32 (new, old)."""
    grid = np.linspace(0, old - 1, new)
    return np.asarray(np.maximum(0, 1 - np.abs(grid[:, None] - np.arange(old))), np.float32)
