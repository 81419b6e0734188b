"""From figures to places on a plot, with round numbers at the ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Scale:
    """A linear axis.

    Attributes:
        low: figure at the start.
        high: figure at the end, above `low`.
        start_px: place of `low`.
        end_px: place of `high`.
        ticks: round figures within.
    """

    low: float
    high: float
    start_px: float
    end_px: float
    ticks: tuple[float, ...]

    @classmethod
    def over(
        cls, values: Sequence[float], start_px: float, end_px: float, *, about: int = 5, least: float = 0
    ) -> Scale:
        """An axis that holds all values and ends at round ones.

        Args:
            values: at least one.
            start_px: where it begins.
            end_px: where it ends.
            about: number of ticks to aim for.
            least: smallest span, so that differences of nothing do not look like something.

        Returns:
            The axis.
        """
        low, high = min(values), max(values)
        short = max(least - (high - low), 0.0 if high > low else 1e-6) / 2
        low, high = low - short, high + short
        step = _step((high - low) / about)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = tuple(index * step for index in range(first, last + 1))
        return cls(ticks[0], ticks[-1], start_px, end_px, ticks)

    def __call__(self, value: float) -> float:
        """Where a figure lies.

        Args:
            value: the figure.

        Returns:
            Its place in pixels.
        """
        share = (value - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)

    def written(self, tick: float) -> str:
        """A tick in as few decimals as tell the ticks apart.

        Args:
            tick: one of the ticks.

        Returns:
            The text.
        """
        step = (self.high - self.low) / max(1, len(self.ticks) - 1)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        text = f"{abs(tick):.{decimals}f}"
        return ("\N{MINUS SIGN}" if tick < 0 and float(text) else "") + text


def _step(rough: float) -> float:
    """The next round number: 1, 2 or 5 times a power of ten."""
    power: float = 10 ** math.floor(math.log10(rough))
    return next(step * power for step in _STEPS if step * power >= rough * (1 - 1e-9))
