"""Decoded image to model input, equal to the evaluation transforms of the checkpoint."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.processing.resample import Scratch, resize_into
from hrnet_deploy.spec import ChannelOrder, Interpolation, Preprocessing, Resize, Rounding

_CONVERSIONS = {ChannelOrder.GRAY: cv2.COLOR_BGR2GRAY, ChannelOrder.RGBA: cv2.COLOR_BGRA2RGBA}
_WHOLE_RESIZE_PX = 1 << 24  # up to here cv2.resize computes the whole result (48 MiB), which is then cropped
_STRIP_ROWS = 64  # a strip of planes stays in the cache between its three passes


class Preprocessor:
    """Converts BGR images to model inputs; safe to call from several threads."""

    def __init__(self, spec: Preprocessing) -> None:
        self.spec = spec
        # (x - 255 mean) / (255 std): two operations a pixel, within 1e-6 of (x / 255 - mean) / std.
        self._center = (255.0 * np.array(spec.mean)).astype(np.float32)[:, None, None]
        self._factor = (1.0 / (255.0 * np.array(spec.std))).astype(np.float32)[:, None, None]
        self._flip = spec.channel_order is ChannelOrder.RGB
        self._channels = spec.channel_order.channels
        self._convert = _CONVERSIONS.get(spec.channel_order)

    def output_hw(self, source_hw: tuple[int, int]) -> tuple[int, int]:
        """Compute (height, width) of the input for an image; ImageError where the card does not resize it to fit."""
        size_hw = self.spec.size_hw
        if size_hw is None:
            return source_hw
        if self.spec.resize is Resize.LONG_SIDE:
            return self._long_side_hw(source_hw, max(size_hw))
        if self.spec.resize is Resize.NONE and source_hw != size_hw:
            raise ImageError(
                f"image must be {size_hw[0]}x{size_hw[1]} (height x width), got {source_hw[0]}x{source_hw[1]}."
                " Resize it first, or export again with another resize mode."
            )
        return size_hw

    @property
    def min_px(self) -> int | None:
        """Short side in pixels of the smallest image that is not enlarged; None where the image's size matters."""
        if self.spec.size_hw is None or self.spec.resize not in {Resize.SHORT_SIDE, Resize.SQUASH}:
            return None
        long = max(self.spec.size_hw)
        return long if self.spec.resize is Resize.SQUASH else math.floor(long / self.spec.crop_pct)

    def pixels(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize and crop a BGR uint8 (H, W, 3) image, for a graph that normalizes by itself.

        Returns uint8 (height, width, 3) in the model's channel order, contiguous, never the caller's own array.
        ImageError: another type or shape, or a size that cannot be used.
        """
        size_hw, offset, out_hw = self._geometry(image)
        if self._by_cv2(image, size_hw):
            part = _cut(_cv2_resize(image, size_hw), offset, out_hw)
            return cv2.cvtColor(part, cv2.COLOR_BGR2RGB).view(np.uint8) if self._flip else part.copy()
        planes = _scratch.floats("pixels", (3, *out_hw))
        resize_into(planes, image, size_hw, offset, self.spec.interpolation, flip_channels=self._flip)
        gray = _scratch.gray(planes.shape)
        np.copyto(gray, planes, casting="unsafe")
        return np.asarray(cv2.merge(list(gray)), np.uint8)

    def __call__(self, image: NDArray[np.uint8], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Resize, crop and normalize a BGR uint8 (H, W, 3) image: (pixel / 255 - mean) / std.

        Args:
            image: BGR, uint8 (H, W, 3); for a model of four channels BGRA, (H, W, 4).
            out: float32 (channels, height, width) to write to, such as one entry of a batch; None for a new array.

        Returns:
            `out`, in the model's channel order.

        Raises:
            ImageError: another type or shape, or a size that cannot be used.
            UsageError: `out` does not fit.
        """
        size_hw, offset, out_hw = self._geometry(image)
        if self._convert is not None:
            image = np.atleast_3d(cv2.cvtColor(image, self._convert)).view(np.uint8)
        shape = (self._channels, *out_hw)
        planes = np.empty(shape, np.float32) if out is None else out
        if planes.shape != shape or planes.dtype != np.float32:
            raise UsageError(
                f"output array must be float32 ({self._channels}, {out_hw[0]}, {out_hw[1]}), got {planes.dtype} "
                f"{planes.shape}. Use output_hw() to size it."
            )
        if self._by_cv2(image, size_hw):
            self._split_and_normalize(_cut(_cv2_resize(image, size_hw), offset, out_hw), planes)
        else:
            resize_into(planes, image, size_hw, offset, self.spec.interpolation, flip_channels=self._flip)
            for top in range(0, out_hw[0], _STRIP_ROWS):
                self._normalize(planes[:, top : top + _STRIP_ROWS])
        return planes

    def _geometry(self, image: NDArray[np.uint8]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Compute (height, width) of the whole resized image, (top, left) of the crop and its (height, width)."""
        wanted = 4 if self._channels == 4 else 3
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != wanted:
            got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            if wanted == 4:
                raise ImageError(
                    f"image must be a BGRA uint8 array (H, W, 4) for this model, got {got}. Give such arrays to "
                    "predictor.pipeline.preprocessor, and its rows to infer()."
                )
            raise ImageError(f"image must be a BGR uint8 array (H, W, 3), got {got}. Open it with read_frame().")
        source_hw = (image.shape[0], image.shape[1])
        if 0 in source_hw:
            raise ImageError(
                f"image must have pixels, got {source_hw[0]}x{source_hw[1]}. Check how it was cut or read."
            )
        out_hw = self.output_hw(source_hw)
        if self.spec.resize is not Resize.SHORT_SIDE:
            return out_hw, (0, 0), out_hw
        size_hw = self._short_side_hw(source_hw, out_hw)
        return size_hw, (self._crop_start(size_hw[0], out_hw[0]), self._crop_start(size_hw[1], out_hw[1])), out_hw

    def _short_side_hw(self, source_hw: tuple[int, int], crop_hw: tuple[int, int]) -> tuple[int, int]:
        """Compute the size before the crop.

        A square target: the short side becomes floor(target / crop_pct), as in torchvision and ppcls. Another one: the
        image covers the enlarged target, both sides rounded. Source: timm.data.transforms.ResizeKeepRatio.
        """
        height, width = source_hw
        goal_hw = tuple(math.floor(side / self.spec.crop_pct) for side in crop_hw)
        if goal_hw[0] != goal_hw[1]:
            ratio = min(height / goal_hw[0], width / goal_hw[1])
            sides = round(height / ratio), round(width / ratio)
        elif self.spec.rounding is Rounding.PADDLE:
            factor = goal_hw[0] / min(source_hw)
            sides = round(height * factor), round(width * factor)
        else:
            long = int(goal_hw[0] * max(source_hw) / min(source_hw))
            sides = (goal_hw[0], long) if height <= width else (long, goal_hw[0])
        return max(sides[0], crop_hw[0]), max(sides[1], crop_hw[1])

    def _long_side_hw(self, source_hw: tuple[int, int], goal: int) -> tuple[int, int]:
        """Scale the long side to `goal`; the other is rounded (PADDLE, as the official segmentation test) or cut."""
        height, width = source_hw
        short = goal * min(source_hw) / max(source_hw)
        other = max(1, round(short) if self.spec.rounding is Rounding.PADDLE else int(short))
        return (goal, other) if height >= width else (other, goal)

    def _crop_start(self, size: int, crop: int) -> int:
        return (size - crop) // 2 if self.spec.rounding is Rounding.PADDLE else round((size - crop) / 2.0)

    def _by_cv2(self, image: NDArray[np.uint8], size_hw: tuple[int, int]) -> bool:
        """Decide whether cv2 resizes: its own filter, or none. A crop of a huge result is computed alone instead."""
        if image.shape[:2] == size_hw:
            return True
        fits = math.prod(size_hw) <= _WHOLE_RESIZE_PX or self.spec.resize is not Resize.SHORT_SIDE
        return self.spec.interpolation is Interpolation.OPENCV_LINEAR and fits

    def _split_and_normalize(self, pixels: NDArray[np.uint8], planes: NDArray[np.float32]) -> None:
        for top in range(0, pixels.shape[0], _STRIP_ROWS):
            strip, part = pixels[top : top + _STRIP_ROWS], planes[:, top : top + _STRIP_ROWS]
            gray = _scratch.gray(part.shape)
            cv2.split(strip, list(gray[::-1] if self._flip else gray))
            np.copyto(part, gray)
            self._normalize(part)

    def _normalize(self, planes: NDArray[np.float32]) -> None:
        np.subtract(planes, self._center, out=planes)
        np.multiply(planes, self._factor, out=planes)


def _cv2_resize(image: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    if image.shape[:2] == size_hw:
        return image
    resized = cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.atleast_3d(resized), np.uint8)  # OpenCV drops a single channel


def _cut(image: NDArray[np.uint8], offset: tuple[int, int], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    return image[offset[0] : offset[0] + size_hw[0], offset[1] : offset[1] + size_hw[1]]


_scratch = Scratch()


def described(spec: Preprocessing) -> str:
    """Describe preprocessing in one line of words."""
    size = "the image's own size" if spec.size_hw is None else f"{spec.size_hw[0]}x{spec.size_hw[1]}"
    how = {
        Resize.SHORT_SIDE: f"short side to {size} / {spec.crop_pct:g}, center crop {size}",
        Resize.SQUASH: f"both sides to {size}",
        Resize.LONG_SIDE: f"long side to that of {size}",
        Resize.NONE: f"not resized ({size})",
    }[spec.resize]
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (spec.mean, spec.std))
    return (
        f"{how}, {spec.interpolation.value} ({spec.rounding.value} rounding), {spec.channel_order.value}, "
        f"mean {mean}, std {std}"
    )
