"""What calibration has seen of one tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hrnet_deploy.calibration.fields import AGAIN, checked_method, checked_number, checked_positive, checked_whole
from hrnet_deploy.calibration.histogram import Histogram
from hrnet_deploy.errors import UsageError
from hrnet_deploy.qdq_plan import ActivationRange

QUANTILES = 16
"""Entries of a tensor's histogram summary."""
SUMMAND_BELOW_ZERO = 0.75
"""How much of the range below zero a summand keeps; a ReLU after the sum hides most of the rest."""


@dataclass(frozen=True)
class TensorRange:
    """What was seen of one tensor.

    Attributes:
        low: smallest value.
        high: largest value.
        amax: by method, the magnitude that is mapped to the last level; positive.
        count: number of values.
        zeros: how many are exactly zero.
        quantiles: summary of the histogram: magnitudes below which 1/16, 2/16, ... 16/16 of all values lie.
    """

    low: float
    high: float
    amax: Mapping[str, float]
    count: int
    zeros: int
    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", checked_number("low", self.low))
        object.__setattr__(self, "high", checked_number("high", self.high))
        if self.low > self.high:
            raise UsageError(f"low must not exceed high, got {self.low} and {self.high}. {AGAIN}")
        if not isinstance(self.amax, Mapping) or not self.amax:
            raise UsageError(f"amax must map methods to numbers, got {self.amax!r:.60}. {AGAIN}")
        object.__setattr__(
            self, "amax", {checked_method("amax", m): checked_positive(f"amax {m}", v) for m, v in self.amax.items()}
        )
        checked_whole("count", self.count, 1)
        checked_whole("zeros", self.zeros, 0)
        if self.zeros > self.count:
            raise UsageError(f"zeros must not exceed count, got {self.zeros} of {self.count}. {AGAIN}")
        if not isinstance(self.quantiles, (list, tuple)):
            raise UsageError(f"quantiles must be a list, got {self.quantiles!r:.60}. {AGAIN}")
        quantiles = tuple(checked_number("quantiles", v) for v in self.quantiles)
        if len(quantiles) != QUANTILES or quantiles[0] < 0 or list(quantiles) != sorted(quantiles):
            raise UsageError(f"quantiles must be {QUANTILES} rising magnitudes, got {str(quantiles)[:60]}. {AGAIN}")
        object.__setattr__(self, "quantiles", quantiles)

    @classmethod
    def measured(cls, histogram: Histogram, amax: Mapping[str, float]) -> TensorRange:
        """What a histogram says.

        Args:
            histogram: at least one value.
            amax: by method.

        Returns:
            The range with the histogram's summary.

        Raises:
            UsageError: no values, or an amax that cannot be used.
        """
        if not histogram.count:
            raise UsageError("a histogram must hold values, got none. Give calibration images.")
        running = np.cumsum(histogram.counts)
        wanted = running[-1] * np.arange(1, QUANTILES + 1) / QUANTILES
        edges = (np.searchsorted(running, wanted) + 1) * histogram.width
        quantiles = tuple(float(v) for v in np.minimum(edges, histogram.absmax))
        return cls(histogram.low, histogram.high, amax, histogram.count, histogram.zeros, quantiles)

    def clipped(self, amax: float, *, summand: bool = False) -> ActivationRange:
        """The values seen, clipped to a threshold on both sides; zero is always among them.

        Args:
            amax: the threshold; above all that was seen only if it is the floor of `thresholds`, which then holds.
            summand: the value does nothing but enter a sum that ends in a ReLU.

        Returns:
            The range to hold.
        """
        if amax > max(-self.low, self.high):  # a smaller range would give a scale that the floor exists to prevent
            return ActivationRange(-amax if self.low < 0 else 0.0, amax)
        low, high = max(min(self.low, 0.0), -amax), min(max(self.high, 0.0), amax)
        return ActivationRange(SUMMAND_BELOW_ZERO * low if summand else low, high)
