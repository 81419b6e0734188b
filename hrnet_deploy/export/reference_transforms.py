"""Evaluation transforms of the training code, with its own libraries: the reference for our preprocessing."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import MissingDependencyError
from hrnet_deploy.spec import ChannelOrder, Interpolation, Preprocessing, Resize, Rounding


def own_transform(pixels: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.float32]:
    """Resize, crop and normalize one image to float32 (channels, h, w).

    The image is uint8 (H, W, 3) in the network's channel order, or RGB for a network of gray images.

    Source: torchvision.transforms.functional (resize, center_crop, normalize); PaddleClas,
    ppcls/data/preprocess/ops/operators.py; HRNet-Semantic-Segmentation, lib/datasets/base_dataset.py.
    """
    if spec.channel_order is ChannelOrder.GRAY:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    resized = _resize(pixels, _resized_hw((pixels.shape[0], pixels.shape[1]), spec), spec.interpolation)
    if spec.resize is Resize.SHORT_SIDE and spec.size_hw is not None:
        spare = [have - want for have, want in zip(resized.shape, spec.size_hw, strict=False)]
        top, left = (gap // 2 if spec.rounding is Rounding.PADDLE else round(gap / 2.0) for gap in spare)
        resized = resized[top : top + spec.size_hw[0], left : left + spec.size_hw[1]]
    scaled = np.transpose(np.atleast_3d(resized), (2, 0, 1)).astype(np.float32) / np.float32(255)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (spec.mean, spec.std))
    return np.asarray((scaled - mean) / std, np.float32)


def _resized_hw(source_hw: tuple[int, int], spec: Preprocessing) -> tuple[int, int]:
    if spec.size_hw is None or spec.resize is Resize.NONE:
        return source_hw
    if spec.resize is Resize.SQUASH:
        return spec.size_hw
    whole = round if spec.rounding is Rounding.PADDLE else math.floor
    if spec.resize is Resize.LONG_SIDE:
        goal, side = max(spec.size_hw), max(source_hw)
    elif spec.size_hw[0] == spec.size_hw[1]:
        goal, side = math.floor(spec.size_hw[0] / spec.crop_pct), min(source_hw)
    else:  # timm.data.transforms.ResizeKeepRatio
        goals = [math.floor(size / spec.crop_pct) for size in spec.size_hw]
        ratio = min(have / want for have, want in zip(source_hw, goals, strict=True))
        return round(source_hw[0] / ratio), round(source_hw[1] / ratio)
    height, width = (goal if have == side else max(1, whole(goal * have / side)) for have in source_hw)
    return height, width


def _resize(pixels: NDArray[np.uint8], size_hw: tuple[int, int], interpolation: Interpolation) -> NDArray[np.uint8]:
    if pixels.shape[:2] == size_hw:
        return pixels
    if interpolation is Interpolation.OPENCV_LINEAR:
        return np.asarray(cv2.resize(pixels, size_hw[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError(
            f"the checkpoint's own preprocessing needs Pillow, got: {error}. pip install pillow."
        ) from error
    method = Image.Resampling[interpolation.name]
    return np.asarray(Image.fromarray(pixels).resize(size_hw[::-1], method), np.uint8)
