"""Where a drop comes from: steps from the checkpoint to the artefacts, measured elsewhere, shown here."""

from __future__ import annotations

from typing import Any, Protocol

from hrnet_deploy.evaluation.comparison import Drop
from hrnet_deploy.report.numbers import interval, percent, points

NOTE = (
    "Each row is compared with the one before on the same images; drops in percentage points, positive is a loss, with"
    " their 95% intervals."
)
"""What the table shows."""


class Step(Protocol):
    """One row."""

    @property
    def name(self) -> str:
        """What was measured."""
        ...

    @property
    def value(self) -> float | None:
        """Its metric, 0..1; None where it could not be measured."""
        ...

    @property
    def drop(self) -> Drop | None:
        """Against the row before; None for the first."""
        ...

    @property
    def total(self) -> float:
        """Points lost since the first row."""
        ...

    @property
    def agreement(self) -> float | None:
        """Share of answers equal to those of the row before, 0..1; None for the first."""
        ...

    @property
    def reason(self) -> str:
        """Why it could not be measured."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        ...


def headers(metric: str) -> tuple[str, ...]:
    """Column titles; all but the first are of figures.

    Args:
        metric: such as "top-1".

    Returns:
        The titles.
    """
    return ("step", metric, "drop", "95% interval", "drop in all", "agreement")


def cells(step: Step) -> tuple[str, ...]:
    """One line of the table.

    Args:
        step: to show.

    Returns:
        One text a column; "-" where there is no figure.
    """
    if step.value is None:
        return (f"{step.name} ({step.reason})", *["-"] * 5)
    drop = step.drop
    if drop is None:
        return (step.name, percent(step.value), *["-"] * 4)
    ends = interval(drop.low, drop.high)
    return (step.name, percent(step.value), points(drop.points), ends, points(step.total), percent(step.agreement))
