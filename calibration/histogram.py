"""Distribution of the magnitudes of one tensor, gathered batch by batch in constant memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ArtifactError, UsageError

BINS = 4096
"""Default resolution. The range is less than twice the largest value, so at least 2048 bins lie below that value."""
_MIN_BINS = 2048
_MAX_BINS = 1 << 16
_MIN_LIMIT = 2.0**-100
"""Below it `bins / limit` would overflow float32; every amax in use is far larger."""
_CHUNK_VALUES = 1 << 20
"""The scratch stays in cache, and counts stay far under 2**24, above which calcHist's float32 is inexact."""


class Histogram:
    """Counts of |x| in equal bins over [0, limit); bin k holds k * width <= |x| < (k + 1) * width.

    The limit is the smallest power of two above every |x| seen. The width is then a power of two as well, a value finds
    its bin without rounding, and doubling the range merges bins pairwise without loss. So the result depends neither on
    the order of the values nor on the batches.

    Attributes:
        bins: number of bins, a power of two from 2048 to 65536.
        limit: upper end of the range; 0.0 until a value other than zero was seen.
        counts: int64 (bins,), values per bin.
        zeros: number of values that are exactly zero; the first bin counts them too.
        low: smallest value seen, with its sign; inf before any.
        high: largest value seen, with its sign; -inf before any.
    """

    def __init__(self, bins: int = BINS) -> None:
        """Create an empty histogram; `bins` is a power of two from 2048 to 65536, else UsageError."""
        if not _MIN_BINS <= bins <= _MAX_BINS or bins & (bins - 1):
            raise UsageError(f"bins must be a power of two from {_MIN_BINS} to {_MAX_BINS}, got {bins}. Use {BINS}.")
        self.bins = bins
        self.limit = 0.0
        self.counts: NDArray[np.int64] = np.zeros(bins, np.int64)
        self.zeros = 0
        self.low = math.inf
        self.high = -math.inf

    @property
    def count(self) -> int:
        """Number of values added."""
        return int(self.counts.sum())

    @property
    def absmax(self) -> float:
        """Largest |x|, exact; 0.0 before any value."""
        return max(-self.low, self.high, 0.0)

    @property
    def width(self) -> float:
        """Width of a bin; 0.0 while the limit is."""
        return self.limit / self.bins

    def add(self, values: NDArray[np.float32], name: str = "values") -> None:
        """Count an array; an array that cannot be counted changes nothing.

        Args:
            values: float32, any shape; may be empty.
            name: name of the tensor, for the error.

        Raises:
            UsageError: not float32; or NaN or an infinity is among them.
        """
        if values.dtype != np.float32:
            raise UsageError(f"'{name}' must be float32, got {values.dtype}. Tap a float tensor.")
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            worst = "NaN" if math.isnan(low) else "an infinity"
            raise UsageError(
                f"activation '{name}' must be finite, got {worst}. Check the weights, the images and the preprocessing."
            )
        self._widen(max(-low, high))
        self.low, self.high = min(self.low, low), max(self.high, high)
        flat = values.reshape(-1)
        for start in range(0, flat.size, _CHUNK_VALUES):
            self._count(flat[start : start + _CHUNK_VALUES], signed=low < 0)

    def _count(self, values: NDArray[np.float32], *, signed: bool) -> None:
        self.zeros += values.size - int(np.count_nonzero(values != 0))
        if not self.limit:
            self.counts[0] += values.size
            return
        # A power of two times a float32 is exact, and its integer part is the floor.
        scaled = values * np.float32(self.bins / self.limit)
        index = (np.abs(scaled, out=scaled) if signed else scaled).astype(np.uint16)
        # 0.6 to 1.8 ms per million values; np.bincount 1.5 to 3.4, calcHist of floats 1.7 to 3.8, np.histogram 5 to 7.
        found = cv2.calcHist([index.reshape(1, -1)], [0], None, [self.bins], [0, self.bins])
        self.counts += found.reshape(-1).astype(np.int64)

    def _widen(self, magnitude: float) -> None:
        """Double the range until the magnitude lies in it."""
        if magnitude < self.limit or magnitude == 0.0:
            return
        # frexp: magnitude = m * 2**e with 0.5 <= m < 1.
        limit = max(2.0 ** math.frexp(magnitude)[1], _MIN_LIMIT)
        if self.limit:
            group = int(min(limit / self.limit, self.bins))
            merged = np.zeros_like(self.counts)
            merged[: self.bins // group] = self.counts.reshape(-1, group).sum(axis=1)
            self.counts = merged
        self.limit = limit

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return `counts` int64 (bins,), `zeros` int64 (), `range` float64 (3,): limit, low, high."""
        return {
            "counts": self.counts.copy(),
            "zeros": np.array(self.zeros, np.int64),
            "range": np.array([self.limit, self.low, self.high], np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Histogram:
        """Restore a histogram from `to_arrays`; raises ArtifactError on arrays of another form."""
        try:
            counts, zeros, bounds = arrays["counts"], arrays["zeros"], arrays["range"]
            forms = [(a.dtype, a.ndim) for a in (counts, zeros, bounds)]
            if forms != [(np.dtype(np.int64), 1), (np.dtype(np.int64), 0), (np.dtype(np.float64), 1)]:
                raise ArtifactError(
                    f"a saved histogram must hold two int64 arrays and a float64, got {forms}. Delete it."
                )
            histogram = cls(counts.size)
            histogram.counts = counts.astype(np.int64)
            histogram.zeros = int(zeros)
            histogram.limit, histogram.low, histogram.high = (float(v) for v in bounds.astype(np.float64))
        except ArtifactError:
            raise
        except (KeyError, ValueError) as error:
            raise ArtifactError(f"a saved histogram must be whole, got {error}. Delete it.") from error
        return histogram
