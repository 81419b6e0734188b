"""Pictures with the statistics of photographs, made without any: to check a net where the user gives no images."""

from __future__ import annotations

import cv2
import numpy as np

from hrnet_deploy.imaging.drawing import Image

_SEED = 2019
_DISCS = 1500


def synthetic_images(count: int, size_hw: tuple[int, int]) -> list[Image]:
    """Dead-leaves pictures: opaque discs of random colour that occlude each other, plus a little sensor noise.

    Radii drawn from a density r^-3 give the 1/f spectrum and the sharp edges of natural images, which white noise and
    smooth patterns lack. Equal arguments give equal pictures.

    Args:
        count: how many.
        size_hw: (height, width) in pixels.

    Returns:
        BGR uint8 (height, width, 3) each.

    Source: A. Lee, D. Mumford, J. Huang, "Occlusion models for natural images", IJCV 41 (2001).
    """
    rng = np.random.default_rng(_SEED)
    return [_dead_leaves(rng, size_hw) for _ in range(count)]


def _dead_leaves(rng: np.random.Generator, size_hw: tuple[int, int]) -> Image:
    height, width = size_hw
    largest = max(4.0, min(size_hw) / 2)
    smallest = max(1.5, largest / 25)
    # Inverse transform of a density r^-3 between the two radii.
    u = rng.random(_DISCS)
    radii = 1 / np.sqrt(u / smallest**2 + (1 - u) / largest**2)
    centres = rng.random((_DISCS, 2)) * (width, height)
    colours = np.clip(rng.normal(115, 65, (_DISCS, 1)) + rng.normal(0, 25, (_DISCS, 3)), 0, 255)
    picture = np.full((height, width, 3), 115, np.uint8)
    for radius, centre, colour in zip(radii, centres, colours, strict=True):
        at = (int(centre[0]), int(centre[1]))
        cv2.circle(picture, at, max(1, round(float(radius))), colour.tolist(), cv2.FILLED, cv2.LINE_AA)
    noise = rng.normal(0, 4, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)
