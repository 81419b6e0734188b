"""Resizing equal to Pillow's, limited to the requested part of the result.

Pillow's filters widen when an image shrinks (antialias), and its 8-bit path rounds between the horizontal and the
vertical pass. Here each pass is a product with a banded matrix: neighboring outputs share a small dense block, so the
arithmetic runs in BLAS. Where a float32 sum is too close to the middle between two gray levels, the pixel is computed
again in integers: the result equals Pillow's to the last bit, on any machine.

Horizontal always goes first, as in every Pillow up to 12; Pillow 13 goes vertical first where the height shrinks more
than the width (python-pillow/Pillow#9549), which can move a squashed image by some gray levels.

Source: Pillow, src/libImaging/Resample.c (ImagingResampleHorizontal_8bpc, ImagingResampleVertical_8bpc).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError
from hrnet_deploy.processing.resample_filters import Axis, Band, axis
from hrnet_deploy.spec import Interpolation

_SIDE_LIMIT_PX = 1 << 16  # beyond it, blocks of weights and their inputs are large
_STRIP_ROWS = 128
_STRIP_ELEMENTS = 1 << 20  # float32 pixels converted at a time; stays near the cache
_MIDDLE_ELEMENTS = 1 << 20  # float32 pixels between the passes; bounds memory for tall images
_Places = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
_BLAS_MACS = 1 << 18  # OpenBLAS starts threads above this many multiply-adds, which are slower here


class Scratch(threading.local):
    """Reusable buffers of a thread. Their content is undefined, and valid until the thread's next call."""

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.uint8]] = {}

    def floats(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return a float32 array, C-contiguous; arrays of different names do not overlap."""
        return self._take(name, 4 * math.prod(shape)).view(np.float32).reshape(shape)

    def gray(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return a uint8 array, C-contiguous."""
        return self._take("gray", math.prod(shape)).reshape(shape)

    def _take(self, name: str, size_bytes: int) -> NDArray[np.uint8]:
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size_bytes:
            buffer = self._buffers[name] = np.empty(size_bytes, np.uint8)
        return buffer[:size_bytes]


def resize_into(
    out: NDArray[np.float32],
    image: NDArray[np.uint8],
    size_hw: tuple[int, int],
    offset: tuple[int, int] = (0, 0),
    interpolation: Interpolation = Interpolation.BILINEAR,
    *,
    flip_channels: bool = False,
) -> None:
    """Resize an image, uint8 (H, W) or (H, W, C), into float32 planes (C, height, width) of whole gray levels.

    `out` has the size of the crop at `offset`, (top, left), of the whole result of `size_hw` pixels.
    """
    if interpolation is not Interpolation.OPENCV_LINEAR and max(image.shape[:2]) > _SIDE_LIMIT_PX:
        raise ImageError(
            f"image sides must be at most {_SIDE_LIMIT_PX} px to be resampled, got {image.shape[0]}x{image.shape[1]}"
            " (height x width). Cut it into parts."
        )
    channels, height, width = out.shape
    columns = axis(image.shape[1], size_hw[1], offset[1], width, interpolation)
    rows = axis(image.shape[0], size_hw[0], offset[0], height, interpolation)
    for group in _groups(rows.bands, max(1, _MIDDLE_ELEMENTS // (channels * width))):
        first, stop = group[0].first, group[-1].stop
        middle = _scratch.floats("middle", (channels, stop - first, width))
        _horizontal(middle, image[first:stop], columns, flip_channels=flip_channels)
        _vertical(out, middle, rows, group)


def _groups(rows: tuple[Band, ...], span: int) -> Iterator[list[Band]]:
    """Yield groups of neighboring bands that read at most `span` inputs together, at least one band each."""
    group: list[Band] = []
    for band in rows:
        if group and band.stop - group[0].first > span:
            yield group
            group = []
        group.append(band)
    yield group


def _horizontal(out: NDArray[np.float32], image: NDArray[np.uint8], columns: Axis, *, flip_channels: bool) -> None:
    first, stop = columns.bands[0].first, columns.bands[-1].stop
    channels = out.shape[0]
    widest = max(band.weights.size for band in columns.bands)
    step = max(1, min(_STRIP_ROWS, _STRIP_ELEMENTS // (channels * (stop - first)), _BLAS_MACS // widest))
    for top in range(0, out.shape[1], step):
        strip = image[top : top + step, first:stop]
        pixels = _planes(strip, flip_channels=flip_channels)
        part = out[:, top : top + step]
        for band in columns.bands:
            np.matmul(pixels[:, :, band.first - first : band.stop - first], band.weights, out=part[:, :, band.outputs])
        if columns.interpolation is Interpolation.OPENCV_LINEAR:  # cv2 keeps fractions between its passes
            continue
        plane, y, x = places = _round_to_gray(part, columns.uncertainty, columns.interpolation)
        if x.size:
            lines = (plane * pixels.shape[1] + y) * pixels.shape[2] - first
            part[places] = _exact(pixels, lines[:, None] + columns.inputs(x), columns.weights[x])


def _planes(strip: NDArray[np.uint8], *, flip_channels: bool) -> NDArray[np.float32]:
    channels = 1 if strip.ndim == 2 else strip.shape[2]
    shape = (channels, *strip.shape[:2])
    floats = _scratch.floats("strip", shape)
    if strip.ndim == 2:
        np.copyto(floats[0], strip)
    else:
        gray = _scratch.gray(shape)
        cv2.split(strip, list(gray[::-1] if flip_channels else gray))
        np.copyto(floats, gray)
    return floats


def _vertical(out: NDArray[np.float32], middle: NDArray[np.float32], rows: Axis, group: list[Band]) -> None:
    first, top = group[0].first, group[0].outputs.start
    for band in group:
        pixels = middle[:, band.first - first : band.stop - first]
        width = max(16, _BLAS_MACS // band.weights.size)
        for left in range(0, out.shape[2], width):
            part = slice(left, left + width)
            np.matmul(band.weights.T, pixels[:, :, part], out=out[:, band.outputs, part])
    for start in range(top, group[-1].outputs.stop, _STRIP_ROWS):
        strip = out[:, start : min(start + _STRIP_ROWS, group[-1].outputs.stop)]
        uncertainty = rows.uncertainty[start : start + strip.shape[1], None]
        plane, y, x = places = _round_to_gray(strip, uncertainty, rows.interpolation)
        if y.size:
            lines = plane[:, None] * middle.shape[1] - first + rows.inputs(y + start)
            strip[places] = _exact(middle, lines * middle.shape[2] + x[:, None], rows.weights[y + start])


def _round_to_gray(
    planes: NDArray[np.float32], uncertainty: NDArray[np.float32], interpolation: Interpolation
) -> _Places:
    """Round half up, in place; return the positions too close to a half to be certain."""
    unsure: NDArray[np.intp] = np.empty(0, np.intp)
    if uncertainty.any():
        distance = _scratch.floats("distance", planes.shape)
        np.copyto(distance, planes)
        _round_half_up(planes)
        np.subtract(distance, planes, out=distance)
        np.abs(distance, out=distance)
        unsure = np.flatnonzero(distance > np.float32(0.5) - uncertainty)
    else:
        _round_half_up(planes)
    if interpolation is Interpolation.BICUBIC:  # the only filter that leaves 0..255
        np.clip(planes, 0, 255, out=planes)
    plane, y, x = np.unravel_index(unsure, planes.shape)
    return plane, y, x


def _round_half_up(planes: NDArray[np.float32]) -> None:
    np.add(planes, np.float32(0.5), out=planes)
    np.floor(planes, out=planes)


def _exact(pixels: NDArray[np.float32], places: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute gray levels (n,) from flat pixel indices and weights, both (n, taps); float64 sums are exact."""
    sums: NDArray[np.float64] = np.einsum("ij,ij->i", pixels.reshape(-1)[places], weights, dtype=np.float64)
    return np.clip(np.floor(sums + 0.5), 0.0, 255.0, out=sums)


_scratch = Scratch()
