"""Resize as Pillow does, but only the part of the result that is wanted.

Pillow's filters widen when an image shrinks (antialias), and its 8-bit path rounds between the horizontal and the
vertical pass. Here each pass is a product with a banded matrix: a few neighbouring outputs share one small dense block,
so the arithmetic runs in BLAS. Photographs differ from Pillow's in about one value of 100 000, by one grey level.

Horizontal always goes first, as in every Pillow up to 12; Pillow 13 goes vertical first where the height shrinks more
than the width (python-pillow/Pillow#9549), which can move a squashed image by some grey levels.

Source: Pillow, src/libImaging/Resample.c (precompute_coeffs, normalize_coeffs_8bpc, ImagingResample*_8bpc).
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError
from hrnet_deploy.spec import Interpolation

_FIXED_POINT_BITS = 22  # Pillow: 32 - 8 - 2
_SIDE_LIMIT_PX = 1 << 16  # beyond it a block of weights no longer fits a cache, nor does its input fit a scratch buffer
_STRIP_ROWS = 128
_STRIP_ELEMENTS = 1 << 20  # float32 pixels converted at a time; stays near the cache
_MIDDLE_ELEMENTS = 1 << 20  # float32 pixels between the passes; bounds memory for tall images
_BLAS_MACS = 1 << 18  # OpenBLAS starts threads above this many multiply-adds, and they cost more than they bring here


@dataclass(frozen=True)
class Band:
    """A few neighbouring outputs along one axis, and the inputs they are made of.

    Attributes:
        outputs: slice of the outputs, counted from the start of the crop.
        first: first input pixel.
        stop: input pixel after the last.
        weights: float32 (stop - first, number of outputs), read-only.
    """

    outputs: slice
    first: int
    stop: int
    weights: NDArray[np.float32]


class Scratch(threading.local):
    """Reusable buffers, a set for each thread, so that hot paths do not allocate.

    What a method returns has undefined content and is valid until the same thread calls it again.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.uint8]] = {}

    def floats(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A float32 array of that shape, C-contiguous; arrays of different names do not overlap."""
        return self._take(name, 4 * math.prod(shape)).view(np.float32).reshape(shape)

    def grey(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """A uint8 array of that shape, C-contiguous."""
        return self._take("grey", math.prod(shape)).reshape(shape)

    def _take(self, name: str, size_bytes: int) -> NDArray[np.uint8]:
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size_bytes:
            buffer = self._buffers[name] = np.empty(size_bytes, np.uint8)
        return buffer[:size_bytes]


def resize(
    image: NDArray[np.uint8],
    size_hw: tuple[int, int],
    interpolation: Interpolation = Interpolation.BILINEAR,
    crop: tuple[int, int, int, int] | None = None,
) -> NDArray[np.uint8]:
    """Resize an image, as `PIL.Image.resize(...).crop(...)` would.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        size_hw: size of the whole result in pixels.
        interpolation: filter; "opencv-linear" is cv2's two taps, within one grey level of cv2.resize.
        crop: (top, left, height, width) of the part of the result to compute; None for all.

    Returns:
        uint8 (height, width) or (height, width, 3), of the crop's size.

    Raises:
        ImageError: a side is too long to resample.
    """
    top, left, height, width = crop or (0, 0, *size_hw)
    planes = np.empty((1 if image.ndim == 2 else image.shape[2], height, width), np.float32)
    resize_into(planes, image, size_hw, (top, left), interpolation)
    rounded = planes.astype(np.uint8)
    return rounded[0] if image.ndim == 2 else np.asarray(cv2.merge(list(rounded)), np.uint8)


def resize_into(
    out: NDArray[np.float32],
    image: NDArray[np.uint8],
    size_hw: tuple[int, int],
    offset: tuple[int, int] = (0, 0),
    interpolation: Interpolation = Interpolation.BILINEAR,
    *,
    flip_channels: bool = False,
) -> None:
    """Resize an image into float32 planes that hold whole grey levels, 0 to 255.

    Args:
        out: float32 (C, height, width), written to: the crop's size decides how much is computed.
        image: uint8 (H, W) with C = 1, or (H, W, C).
        size_hw: size of the whole result in pixels.
        offset: (top, left) of the crop within the whole result.
        interpolation: filter.
        flip_channels: write the last channel first (BGR to RGB).

    Raises:
        ImageError: a side is too long to resample.
    """
    if interpolation is not Interpolation.OPENCV_LINEAR and max(image.shape[:2]) > _SIDE_LIMIT_PX:
        raise ImageError(
            f"image sides must be at most {_SIDE_LIMIT_PX} px to be resampled, got {image.shape[0]}x{image.shape[1]}"
            " (height x width). Cut it into parts."
        )
    channels, height, width = out.shape
    columns = bands(image.shape[1], size_hw[1], offset[1], width, interpolation)
    rows = bands(image.shape[0], size_hw[0], offset[0], height, interpolation)
    for group in _groups(rows, max(1, _MIDDLE_ELEMENTS // (channels * width))):
        first, stop = group[0].first, group[-1].stop
        middle = _scratch.floats("middle", (channels, stop - first, width))
        _horizontal(middle, image[first:stop], columns, interpolation, flip_channels=flip_channels)
        _vertical(out, middle, group, interpolation)


@functools.lru_cache(maxsize=256)
def bands(inputs: int, outputs: int, first: int, count: int, interpolation: Interpolation) -> tuple[Band, ...]:
    """Weights that make part of one resized axis, in blocks.

    Args:
        inputs: length of the axis before.
        outputs: its whole length after.
        first: first output wanted.
        count: number of outputs wanted.
        interpolation: filter.

    Returns:
        Bands in order; together they cover every output wanted once.
    """
    starts, weights = _taps(inputs, outputs, np.arange(first, first + count), interpolation)
    ends = np.minimum(starts + weights.shape[1], inputs)
    # A wide block wastes multiplications outside the band, a narrow one wastes the vector units.
    block = 16 if inputs <= 2 * outputs else 8
    return tuple(_band(slice(b, min(b + block, count)), starts, ends, weights) for b in range(0, count, block))


def _band(outputs: slice, starts: NDArray[np.int64], ends: NDArray[np.int64], weights: NDArray[np.float64]) -> Band:
    first, stop = int(starts[outputs][0]), int(ends[outputs][-1])
    taps = weights.shape[1]
    dense = np.zeros((int(starts[outputs][-1]) + taps - first, outputs.stop - outputs.start), np.float32)
    rows = starts[outputs, None] - first + np.arange(taps)
    dense[rows, np.arange(dense.shape[1])[:, None]] = weights[outputs]
    dense = dense[: stop - first]  # taps beyond the image have weight zero
    dense.setflags(write=False)
    return Band(outputs, first, stop, dense)


def _taps(
    inputs: int, outputs: int, positions: NDArray[np.int64], interpolation: Interpolation
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First input and the weights of each output at `positions`: (n,) and (n, taps)."""
    scale = inputs / outputs
    centres = np.asarray((positions + 0.5) * scale, np.float64)
    if interpolation is Interpolation.OPENCV_LINEAR:
        return _two_taps(inputs, centres)
    stretch = max(scale, 1.0)
    support = stretch * (2.0 if interpolation is Interpolation.BICUBIC else 1.0)
    starts = np.maximum(np.trunc(centres - support + 0.5).astype(np.int64), 0)
    ends = np.minimum(np.trunc(centres + support + 0.5).astype(np.int64), inputs)
    pixels = starts[:, None] + np.arange(int((ends - starts).max()))
    distances = np.abs((pixels - centres[:, None] + 0.5) / stretch)
    raw = _cubic(distances) if interpolation is Interpolation.BICUBIC else np.maximum(1.0 - distances, 0.0)
    raw[pixels >= ends[:, None]] = 0.0
    raw /= np.cumsum(raw, axis=1)[:, -1:]
    # Whole multiples of 2**-22 fit a float32 exactly, so ties between grey levels fall where Pillow's do.
    fixed = np.trunc(np.ldexp(raw, _FIXED_POINT_BITS) + np.copysign(0.5, raw))
    return starts, np.ldexp(fixed, -_FIXED_POINT_BITS)


def _cubic(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic with a = -0.5."""
    near = (1.5 * distances - 2.5) * distances * distances + 1.0
    far = -0.5 * (((distances - 5.0) * distances + 8.0) * distances - 4.0)
    kernel: NDArray[np.float64] = np.where(distances < 1.0, near, np.where(distances < 2.0, far, 0.0))
    return kernel


def _two_taps(inputs: int, centres: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """cv2.INTER_LINEAR: the two nearest pixels at any scale, the border repeated."""
    if inputs == 1:
        return np.zeros(len(centres), np.int64), np.ones((len(centres), 1))
    exact = np.clip(centres - 0.5, 0, inputs - 1)
    starts = np.minimum(exact.astype(np.int64), inputs - 2)
    share = exact - starts
    return starts, np.stack([1.0 - share, share], axis=1)


def _groups(rows: tuple[Band, ...], span: int) -> Iterator[list[Band]]:
    """Neighbouring bands, as many as read at most `span` inputs together, at least one."""
    group: list[Band] = []
    for band in rows:
        if group and band.stop - group[0].first > span:
            yield group
            group = []
        group.append(band)
    yield group


def _horizontal(
    out: NDArray[np.float32],
    image: NDArray[np.uint8],
    columns: tuple[Band, ...],
    interpolation: Interpolation,
    *,
    flip_channels: bool,
) -> None:
    first, stop = columns[0].first, columns[-1].stop
    channels = out.shape[0]
    widest = max(band.weights.size for band in columns)
    step = max(1, min(_STRIP_ROWS, _STRIP_ELEMENTS // (channels * (stop - first)), _BLAS_MACS // widest))
    for top in range(0, out.shape[1], step):
        strip = image[top : top + step, first:stop]
        pixels = _planes(strip, flip_channels=flip_channels)
        part = out[:, top : top + step]
        for band in columns:
            np.matmul(pixels[:, :, band.first - first : band.stop - first], band.weights, out=part[:, :, band.outputs])
        if interpolation is not Interpolation.OPENCV_LINEAR:  # cv2 keeps fractions between its passes
            _round_to_grey(part, interpolation)


def _planes(strip: NDArray[np.uint8], *, flip_channels: bool) -> NDArray[np.float32]:
    channels = 1 if strip.ndim == 2 else strip.shape[2]
    shape = (channels, *strip.shape[:2])
    floats = _scratch.floats("strip", shape)
    if strip.ndim == 2:
        np.copyto(floats[0], strip)
    else:
        grey = _scratch.grey(shape)
        cv2.split(strip, list(grey[::-1] if flip_channels else grey))
        np.copyto(floats, grey)
    return floats


def _vertical(
    out: NDArray[np.float32], middle: NDArray[np.float32], rows: list[Band], interpolation: Interpolation
) -> None:
    first = rows[0].first
    for band in rows:
        pixels = middle[:, band.first - first : band.stop - first]
        width = max(16, _BLAS_MACS // band.weights.size)
        for left in range(0, out.shape[2], width):
            part = slice(left, left + width)
            np.matmul(band.weights.T, pixels[:, :, part], out=out[:, band.outputs, part])
    _round_to_grey(out[:, rows[0].outputs.start : rows[-1].outputs.stop], interpolation)


def _round_to_grey(planes: NDArray[np.float32], interpolation: Interpolation) -> None:
    """Round half up, in place; only the cubic filter leaves 0..255."""
    np.add(planes, np.float32(0.5), out=planes)
    np.floor(planes, out=planes)
    if interpolation is Interpolation.BICUBIC:
        np.clip(planes, 0, 255, out=planes)


_scratch = Scratch()
