"""Filters of resized axes: the input pixels of each output pixel, and their weights.

Source: Pillow, src/libImaging/Resample.c (precompute_coeffs, normalize_coeffs_8bpc); cv2.resize for the two-tap filter.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.spec import Interpolation

_FIXED_POINT_BITS = 22  # Pillow: 32 - 8 - 2
_EXACT_BITS = 15  # sums of 8 bits of gray and 15 of weight are exact in the 24 bits of a float32


@dataclass(frozen=True)
class Band:
    """A few neighboring outputs of a crop along one axis; their inputs, and float32 weights (inputs, outputs)."""

    outputs: slice
    first: int
    stop: int
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Axis:
    """Filter of one resized axis.

    Attributes:
        starts: int64 (outputs,), first input of each output.
        weights: float64 (outputs, taps).
        uncertainty: float32 (outputs,), largest error of a float32 sum, in gray levels; often 0.
    """

    bands: tuple[Band, ...]
    starts: NDArray[np.int64]
    weights: NDArray[np.float64]
    uncertainty: NDArray[np.float32]
    interpolation: Interpolation

    def inputs(self, outputs: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return the inputs (n, taps) of outputs (n,); an input with weight zero may be any that the bands read."""
        pixels: NDArray[np.int64] = self.starts[outputs, None] + np.arange(self.weights.shape[1])
        return np.minimum(pixels, self.bands[-1].stop - 1, out=pixels)


@functools.lru_cache(maxsize=256)
def axis(inputs: int, outputs: int, first: int, count: int, interpolation: Interpolation) -> Axis:
    """Compute the filter of `count` outputs from `first` on, of an axis resized from `inputs` to `outputs` pixels."""
    starts, weights = _taps(inputs, outputs, np.arange(first, first + count), interpolation)
    ends = np.minimum(starts + weights.shape[1], inputs)
    # A wide block multiplies zeros outside the band, a narrow one leaves vector units idle.
    block = 16 if inputs <= 2 * outputs else 8
    blocks = [slice(b, min(b + block, count)) for b in range(0, count, block)]
    # Each tap adds a product and a sum, each within half a unit in the last place of 255.
    uncertainty = np.full(count, (weights.shape[1] + 1) * 2.0**-16, np.float32)
    uncertainty[(np.mod(np.ldexp(weights, _EXACT_BITS), 1.0) == 0.0).all(axis=1)] = 0.0
    if interpolation is Interpolation.OPENCV_LINEAR:
        uncertainty[:] = 0.0  # cv2 is matched to one gray level only
    return Axis(tuple(_band(b, starts, ends, weights) for b in blocks), starts, weights, uncertainty, interpolation)


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
    """Compute the first input and the weights of each output at `positions`: (n,) and (n, taps)."""
    scale = inputs / outputs
    centers = np.asarray((positions + 0.5) * scale, np.float64)
    if interpolation is Interpolation.OPENCV_LINEAR:
        return _two_taps(inputs, centers)
    stretch = max(scale, 1.0)
    support = stretch * (2.0 if interpolation is Interpolation.BICUBIC else 1.0)
    starts = np.maximum(np.trunc(centers - support + 0.5).astype(np.int64), 0)
    ends = np.minimum(np.trunc(centers + support + 0.5).astype(np.int64), inputs)
    pixels = starts[:, None] + np.arange(int((ends - starts).max()))
    distances = np.abs((pixels - centers[:, None] + 0.5) / stretch)
    raw = _cubic(distances) if interpolation is Interpolation.BICUBIC else np.maximum(1.0 - distances, 0.0)
    raw[pixels >= ends[:, None]] = 0.0
    raw /= np.cumsum(raw, axis=1)[:, -1:]
    # Whole multiples of 2**-22 fit a float32 exactly, so ties between gray levels fall as in Pillow.
    fixed = np.trunc(np.ldexp(raw, _FIXED_POINT_BITS) + np.copysign(0.5, raw))
    return starts, np.ldexp(fixed, -_FIXED_POINT_BITS)


def _cubic(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate Keys' cubic with a = -0.5."""
    near = (1.5 * distances - 2.5) * distances * distances + 1.0
    far = -0.5 * (((distances - 5.0) * distances + 8.0) * distances - 4.0)
    kernel: NDArray[np.float64] = np.where(distances < 1.0, near, np.where(distances < 2.0, far, 0.0))
    return kernel


def _two_taps(inputs: int, centers: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Compute the weights of cv2.INTER_LINEAR: the two nearest pixels at any scale, the border repeated."""
    if inputs == 1:
        return np.zeros(len(centers), np.int64), np.ones((len(centers), 1))
    exact = np.clip(centers - 0.5, 0, inputs - 1)
    starts = np.minimum(exact.astype(np.int64), inputs - 2)
    share = exact - starts
    return starts, np.stack([1.0 - share, share], axis=1)
