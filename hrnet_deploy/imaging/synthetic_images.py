"""Synthetic images with the statistics of photographs, to check a model without images of the user."""

from __future__ import annotations

import cv2
import numpy as np

from hrnet_deploy.imaging.drawing import Image

_SEED = 2019
_DISCS = 1500


def synthetic_images(count: int, size_hw: tuple[int, int], channels: int = 3) -> list[Image]:
    """Generate dead-leaves images of (height, width): discs of random color that hide each other, and a little noise.

    Radii drawn from a density r^-3 give the 1/f spectrum and the sharp edges of natural images, which white noise and
    smooth patterns lack. Equal arguments give equal images, BGR uint8 (height, width, 3); with
    4 channels BGRA, whose alpha is another image's green.

    Source: A. Lee, D. Mumford, J. Huang, "Occlusion models for natural images", IJCV 41 (2001).
    """
    rng = np.random.default_rng(_SEED)
    images = [_dead_leaves(rng, size_hw) for _ in range(count)]
    if channels != 4:
        return images
    return [np.dstack([image, _dead_leaves(rng, size_hw)[:, :, 1]]) for image in images]


def _dead_leaves(rng: np.random.Generator, size_hw: tuple[int, int]) -> Image:
    height, width = size_hw
    largest = max(4.0, min(size_hw) / 2)
    smallest = max(1.5, largest / 25)
    # Inverse transform of a density r^-3 between the two radii.
    u = rng.random(_DISCS)
    radii = 1 / np.sqrt(u / smallest**2 + (1 - u) / largest**2)
    centers = rng.random((_DISCS, 2)) * (width, height)
    colors = np.clip(rng.normal(115, 65, (_DISCS, 1)) + rng.normal(0, 25, (_DISCS, 3)), 0, 255)
    image = np.full((height, width, 3), 115, np.uint8)
    for radius, center, color in zip(radii, centers, colors, strict=True):
        at = (int(center[0]), int(center[1]))
        cv2.circle(image, at, max(1, round(float(radius))), color.tolist(), cv2.FILLED, cv2.LINE_AA)
    noise = rng.normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)
