"""Threshold of a tensor from its histogram of |x|: four trade-offs between clipping and rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.calibration.histogram import BINS, Histogram
from hrnet_deploy.errors import UsageError

PERCENTILE = 99.99
"""Percentage of the values other than zero that `percentile` leaves unclipped."""
FLOOR = 1e-3
"""Smallest amax, also of a tensor that is all zero.

TensorRT 8.5 and later abort on a scale of 0 (NVIDIA/TensorRT issues 3020 and 4446). Far smaller values fail in other
ways. A scale below 2**-24 becomes 0 in FP16. A bias of 1 beside weights of scale 1e-3 overflows int32 where the input's
scale is under 5e-7. 1e-3 avoids both by a factor of ten and more, and costs nothing: activations are of the order of 1,
so a tensor that never reaches 0.001 is as good as zero.
"""
_CODES = 128
"""Magnitudes of the entropy calibrator's int8, for signed and unsigned tensors."""
_FIRST_CANDIDATE = 128
_TIE_NATS = 1e-12
_SIGNED_STEPS = 127
_UNSIGNED_STEPS = 255
_MSE_COARSE = 16
"""Candidates per octave of `mse`; the neighborhood of the best one is then searched in steps an eighth as large."""


def amax(histogram: Histogram, method: str, *, unsigned: bool) -> float:
    """Compute the magnitude to be mapped to the last code; larger ones are clipped.

    Args:
        histogram: at least one value.
        method: one of METHODS. All but `minmax` leave out values that are exactly zero: any scale represents them, and
            after a ReLU they outnumber the others.
        unsigned: whether the values are never negative and use all 256 codes; only `mse` depends on it.

    Returns:
        From FLOOR up, and never above the largest |x| unless that is below FLOOR.

    Raises:
        UsageError: an unknown method, or a histogram without values.
    """
    if method not in _RULES:
        raise UsageError(f"calibration method must be one of {', '.join(METHODS)}, got '{method}'. Choose one.")
    if not histogram.count:
        raise UsageError("a histogram must hold values, got none. Give calibration images.")
    if histogram.absmax <= FLOOR:
        return FLOOR
    found = _RULES[method](histogram, _UNSIGNED_STEPS if unsigned else _SIGNED_STEPS)
    return float(min(max(found, FLOOR), histogram.absmax))


def divergences(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute the KL divergence (nats) of the candidate thresholds of the entropy calibrator, 128..n bins of `counts`.

    Candidate i keeps bins 0..i-1. P is their counts, with all counts beyond added to bin i-1. Q spreads, within each of
    128 equal levels, the level's count without that addition evenly over its bins that are not empty. Both are
    normalized. Where P has counts and Q has none, the divergence is infinite.

    The first bin takes the count of the second. It is full of zeros, which any scale represents exactly; they would
    dominate the divergence after a ReLU.

    Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017, s7310, "Entropy Calibration - pseudocode"; the first
    bin: NVIDIA pytorch-quantization, calib/histogram.py.
    """
    density = counts.astype(np.float64)
    density[0] = density[1]
    total = density.sum()
    before = _running(density)
    filled = _running(density > 0)
    widths = np.arange(_FIRST_CANDIDATE, len(counts) + 1)
    # Level l of candidate i begins at the first bin j with j / i >= l / 128.
    edges = -(-widths[:, None] * np.arange(_CODES + 1) // _CODES)
    mass, bins = np.diff(before[edges]), np.diff(filled[edges])
    outliers = total - before[widths]
    # KL = sum p log p - sum p log q; Q is constant within a level, so sums over levels of prefix sums are enough.
    log_q = np.log(mass / np.maximum(bins, 1), out=np.zeros_like(mass), where=mass > 0)
    last = density[widths - 1]
    mass[:, -1] += outliers
    own = _running(_x_log_x(density))[widths - 1] + _x_log_x(last + outliers)
    cross = (mass * log_q).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = (own - cross) / total - np.log(total) + np.log(before[widths])
    found[(last == 0) & (outliers > 0)] = np.inf
    return found


def _entropy(histogram: Histogram, _steps: int) -> float:
    # Empty bins at the end could only widen the levels; at least half of the bins are left.
    found = divergences(np.trim_zeros(histogram.counts, "b"))
    # The largest of equal candidates clips fewest values.
    best = int(np.flatnonzero(found <= found.min() + _TIE_NATS)[-1]) + _FIRST_CANDIDATE
    return (best + 0.5) * histogram.width


def _percentile(histogram: Histogram, _steps: int) -> float:
    counts = _without_zeros(histogram)
    rank = counts.sum() * (PERCENTILE / 100)
    above = np.cumsum(counts)
    k = int(np.searchsorted(above, rank))
    return float((k + 1 - (above[k] - rank) / counts[k]) * histogram.width)


def _minmax(histogram: Histogram, _steps: int) -> float:
    return histogram.absmax


def _mse(histogram: Histogram, steps: int) -> float:
    counts = np.trim_zeros(_without_zeros(histogram), "b")
    edges: NDArray[np.float64] = np.arange(len(counts) + 1, dtype=np.float64) * histogram.width

    def best(candidates: NDArray[np.float64]) -> float:
        errors = [counts @ np.diff(_squared_error_up_to(edges, float(t), steps)) for t in candidates]
        return float(candidates[int(np.argmin(errors))])

    # Candidates fall from the maximum in equal ratios, so that an outlier costs no resolution among the other values.
    octaves = math.log2(BINS / _FIRST_CANDIDATE)
    coarse = best(histogram.absmax * np.exp2(-np.arange(0, octaves, 1 / _MSE_COARSE)))
    fine = coarse * np.exp2(np.arange(8, -9, -1) / (8 * _MSE_COARSE))
    return best(fine[fine <= histogram.absmax])


def _squared_error_up_to(x: NDArray[np.float64], threshold: float, steps: int) -> NDArray[np.float64]:
    """Integrate from 0 to x the squared error of rounding to threshold / steps and clipping at threshold."""
    step = threshold / steps
    inside = np.minimum(x, threshold)
    nearest = np.rint(inside / step)
    rounding = nearest * (step**3 / 12) + (inside - nearest * step) ** 3 / 3
    total: NDArray[np.float64] = rounding + (x - inside) ** 3 / 3
    return total


def _without_zeros(histogram: Histogram) -> NDArray[np.int64]:
    counts = histogram.counts.copy()
    counts[0] -= histogram.zeros
    return counts


def _running(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the sums of the first 0, 1, ... n values."""
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _x_log_x(values: NDArray[np.float64]) -> NDArray[np.float64]:
    products: NDArray[np.float64] = values * np.log(np.maximum(values, 1.0))
    return products


_RULES: Mapping[str, Callable[[Histogram, int], float]] = {
    "entropy": _entropy,
    "percentile": _percentile,
    "minmax": _minmax,
    "mse": _mse,
}
METHODS = tuple(_RULES)
"""Names for `amax`."""
