"""Result of a waterfall: the metric after each step from the checkpoint to the artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.evaluation.comparison import Drop
from hrnet_deploy.evaluation.run_info import DataInfo
from hrnet_deploy.system.text_table import Table


@dataclass(frozen=True, kw_only=True)
class WaterfallStep:
    """One step, compared with the step before it.

    Attributes:
        value: metric, 0..1; None where the step could not be measured.
        drop: loss against the step before, with its paired interval; None for the first step.
        total: points lost since the first step.
        agreement: share of outputs equal to those of the step before, 0..1; None for the first step.
        reason: why the step could not be measured, in one line.
    """

    name: str
    value: float | None = None
    drop: Drop | None = None
    total: float = 0.0
    agreement: float | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {**vars(self), "drop": None if self.drop is None else self.drop.to_dict()}


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    """Every step from the checkpoint to the artifacts, in order."""

    metric: str
    data: DataInfo
    steps: tuple[WaterfallStep, ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {"metric": self.metric, "data": self.data.to_dict(), "steps": [step.to_dict() for step in self.steps]}

    def __str__(self) -> str:
        """The steps as a table for a terminal."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        header = ("", self.metric, "step", "95 % interval", "total", "same as before")
        header_line, *lines = Table(header, [_cells(step) for step in self.steps], {""}).text()
        yield f"waterfall: {self.metric} on {self.data.images} images, in points lost"
        yield f"  {header_line}"
        for step, line in zip(self.steps, lines, strict=True):
            yield f"  {line}  {step.reason}" if step.value is None else f"  {line}"


def _cells(step: WaterfallStep) -> tuple[str, ...]:
    if step.value is None:
        return (step.name, *[""] * 5)
    if step.drop is None or step.agreement is None:
        return (step.name, f"{100 * step.value:.2f}", *[""] * 4)
    interval = "-" if step.drop.low is None else f"{step.drop.low:+.2f} to {step.drop.high:+.2f}"
    drop, total = f"{step.drop.points:+.2f}", f"{step.total:+.2f}"
    return (step.name, f"{100 * step.value:.2f}", drop, interval, total, f"{step.agreement:.2%}")
