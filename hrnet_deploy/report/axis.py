"""A linear axis of a plot with round numbers at its ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hrnet_deploy.report.formatting import MINUS


@dataclass(frozen=True)
class Axis:
    """A mapping from values (`low` to `high`, with round ticks between them) to pixels."""

    low: float
    high: float
    start_px: float
    end_px: float
    ticks: tuple[float, ...]

    @classmethod
    def over(
        cls, values: Sequence[float], start_px: float, end_px: float, *, ticks: int = 5, min_span: float = 0
    ) -> Axis:
        """Make an axis that ends at round values; `min_span` keeps negligible differences small on the plot."""
        low, high = min(values), max(values)
        margin = max(min_span - (high - low), 0.0 if high > low else 1e-6) / 2
        low, high = low - margin, high + margin
        step = _round_up((high - low) / ticks)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        places = tuple(index * step for index in range(first, last + 1))
        return cls(places[0], places[-1], start_px, end_px, places)

    def __call__(self, value: float) -> float:
        """Map a value to its pixel."""
        share = (value - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)

    def label(self, tick: float) -> str:
        """Format a tick with the fewest decimals that keep the ticks distinct."""
        step = (self.high - self.low) / max(1, len(self.ticks) - 1)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        text = f"{abs(tick):.{decimals}f}"
        return MINUS + text if tick < 0 and float(text) else text


def _round_up(step: float) -> float:
    """Return the next of 1, 2 or 5 times a power of ten."""
    power: float = 10 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= step * (1 - 1e-9))
