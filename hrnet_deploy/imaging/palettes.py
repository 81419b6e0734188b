"""Colors of classes in drawn masks."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.known_classes import CITYSCAPES_CLASSES
from hrnet_deploy.spec import ModelCard

CITYSCAPES_PALETTE: NDArray[np.uint8] = np.array(
    [
        *((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153)),
        *((250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60)),
        *((255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)),
    ],
    dtype=np.uint8,
)
"""RGB by train id, uint8 (19, 3), read-only. Source: as CITYSCAPES_CLASSES."""
CITYSCAPES_PALETTE.setflags(write=False)


def palette(classes: Sequence[str]) -> NDArray[np.uint8]:
    """Choose one color for each class, uint8 (n, 3) RGB, the same at every call.

    Cityscapes' classes have their own colors; others well-separated ones, never black or white, all different for 255
    classes and more. The first colors do not depend on the number of classes.
    """
    if tuple(classes) == CITYSCAPES_CLASSES:
        return CITYSCAPES_PALETTE.copy()
    return np.resize(_separated_colors(min(len(classes), 4000)), (len(classes), 3))


def colors_of(card: ModelCard) -> NDArray[np.uint8]:
    """Return the colors of a card, or those of `palette` where it has none, uint8 (n, 3) RGB."""
    return palette(card.classes) if card.palette is None else np.array(card.palette, np.uint8)


@functools.lru_cache(maxsize=8)
def _separated_colors(count: int) -> NDArray[np.uint8]:
    """Choose farthest points on an RGB grid, greedily in CIELAB; black and white are excluded."""
    levels = np.linspace(0, 255, 16)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _lab(grid)
    nearest = np.minimum(np.linalg.norm(lab - lab[0], axis=1), np.linalg.norm(lab - lab[-1], axis=1))
    chosen = np.empty(count, dtype=np.intp)
    for index in range(count):
        chosen[index] = nearest.argmax()
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[chosen[index]], axis=1))
    return grid[chosen].astype(np.uint8)


def _lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sRGB 0..255 (n, 3) to CIELAB under D65. Source: IEC 61966-2-1 and CIE 15:2004."""
    scaled = rgb / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    lightness = 116 * root[:, 1] - 16
    return np.stack([lightness, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], axis=1)
