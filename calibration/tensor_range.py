"""The values of one tensor that calibration has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hrnet_deploy.calibration.histogram import Histogram
from hrnet_deploy.errors import UsageError
from hrnet_deploy.qdq_plan import ActivationRange

QUANTILES = 16
"""Entries of a tensor's histogram summary."""
RESIDUAL_INPUT_SHARE = 0.75
"""Share of the negative range that the input of a residual sum keeps; a ReLU after the sum hides most of the rest."""


@dataclass(frozen=True)
class TensorRange:
    """The values seen of one tensor.

    Attributes:
        amax: by method, the magnitude that is mapped to the last code; positive.
        zeros: number of values that are exactly zero.
        quantiles: magnitudes below which 1/16, 2/16, ... 16/16 of all values lie.
    """

    low: float
    high: float
    amax: Mapping[str, float]
    count: int
    zeros: int
    quantiles: tuple[float, ...]

    @classmethod
    def measured(cls, histogram: Histogram, amax: Mapping[str, float]) -> TensorRange:
        """Summarize a histogram; `amax` is by method. An empty histogram raises UsageError."""
        if not histogram.count:
            raise UsageError("a histogram must hold values, got none. Give calibration images.")
        running = np.cumsum(histogram.counts)
        ranks = running[-1] * np.arange(1, QUANTILES + 1) / QUANTILES
        edges = (np.searchsorted(running, ranks) + 1) * histogram.width
        quantiles = tuple(float(v) for v in np.minimum(edges, histogram.absmax))
        return cls(histogram.low, histogram.high, amax, histogram.count, histogram.zeros, quantiles)

    def clipped(self, amax: float, *, residual_input: bool = False) -> ActivationRange:
        """Return the range that the codes must cover, which contains zero.

        Args:
            amax: the threshold. It exceeds all values seen only if it is `thresholds.FLOOR`, which then holds.
            residual_input: whether the value only enters a sum before a ReLU.
        """
        if amax > max(-self.low, self.high):  # a smaller range would give a scale that the floor exists to prevent
            return ActivationRange(-amax if self.low < 0 else 0.0, amax)
        low, high = max(min(self.low, 0.0), -amax), min(max(self.high, 0.0), amax)
        return ActivationRange(RESIDUAL_INPUT_SHARE * low if residual_input else low, high)
