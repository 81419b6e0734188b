"""What the accuracy gate found: every attempt, and which one it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrnet_deploy.errors import VerificationError
from hrnet_deploy.evaluation import DataInfo, Drop
from hrnet_deploy.evaluation.runtime_status import RuntimeStatus
from hrnet_deploy.spec import Precision

_ROUNDING = 1e-9
_MOST = 0.5
_RUNS_ON = "runs on"


@dataclass(frozen=True)
class Trial:
    """One candidate, measured.

    Attributes:
        kept: blocks moved to floating point for the sake of accuracy, most sensitive first.
        float_share: share of the convolutions' multiply-adds that are not in the artefact's precision, 0..1.
        value: its metric, 0..1.
        drop: how much lower that is than the reference's.
        agreement: share of answers equal to the reference's, 0..1.
        standing: what was measured: the artefact where it will run, or its graph on a CPU.
    """

    kept: tuple[str, ...]
    float_share: float
    value: float
    drop: Drop
    agreement: float
    standing: RuntimeStatus

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "kept": list(self.kept),
            "float_share": self.float_share,
            "value": self.value,
            "drop": self.drop.to_dict(),
            "agreement": self.agreement,
            "runtime": self.standing.runtime,
            "status": self.standing.status,
        }


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """Whether an artefact keeps within what it may lose.

    Attributes:
        precision: of the artefact.
        metric: what is measured, such as "top-1".
        reference: the float32 graph's, 0..1.
        max_drop: percentage points that may be lost.
        data: the labelled images.
        attempts: in the order they were made; the first is the artefact as it was asked for, and of an engine that
            can be opened here its graphs come before it.
    """

    precision: Precision
    metric: str
    reference: float
    max_drop: float
    data: DataInfo
    attempts: tuple[Trial, ...]

    @property
    def chosen(self) -> Trial:
        """The one with the fewest blocks kept that fits, else that which loses least; of engines, if there are any."""
        judging = [attempt for attempt in self.attempts if not attempt.standing.predicted] or self.attempts
        fitting = [attempt for attempt in judging if within(attempt.drop, self.max_drop)]
        if fitting:
            return min(fitting, key=lambda attempt: len(attempt.kept))
        return min(judging, key=lambda attempt: attempt.drop.points)

    @property
    def predicted(self) -> Trial | None:
        """What was predicted of a chosen engine from its graph; None where that was not, or is all there is."""
        chosen = self.chosen
        same = (attempt for attempt in self.attempts if attempt.standing.predicted and attempt.kept == chosen.kept)
        return None if chosen.standing.predicted else next(same, None)

    @property
    def outcome(self) -> str:
        """Either "fits", "repaired" or "missed"."""
        if not within(self.chosen.drop, self.max_drop):
            return "missed"
        return "repaired" if self.chosen.kept else "fits"

    @property
    def fits(self) -> bool:
        """Whether the chosen attempt keeps within the budget."""
        return self.outcome != "missed"

    def lineage(self) -> dict[str, str]:
        """What the card says of it in words."""
        return {
            "gate": self.outcome,
            "gate_metric": self.metric,
            "gate_kept": ",".join(self.chosen.kept),
            "gate_images_sha256": self.data.digest,
            "gate_measured_on": self.chosen.standing.runtime,
            "gate_status": self.chosen.standing.status,
        }

    def measured(self) -> dict[str, float]:
        """What the card says of it in figures: points, shares and counts; of an engine also what was predicted."""
        drop, predicted = self.chosen.drop, self.predicted
        interval = {} if drop.low is None or drop.high is None else {"low": drop.low, "high": drop.high}
        graph = {} if predicted is None else {"drop": predicted.drop.points, "metric": predicted.value}
        return {
            "gate_max_drop": self.max_drop,
            "gate_drop": drop.points,
            **{f"gate_drop_{end}": value for end, value in interval.items()},
            **{f"gate_predicted_{name}": value for name, value in graph.items()},
            "gate_metric_reference": self.reference,
            "gate_metric": self.chosen.value,
            "gate_agreement": self.chosen.agreement,
            "gate_float_share": self.chosen.float_share,
            "gate_images": float(self.data.images),
            "gate_attempts": float(len(self.attempts)),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "outcome": self.outcome,
            "precision": self.precision.value,
            "metric": self.metric,
            "reference": self.reference,
            "max_drop": self.max_drop,
            "measured_on": self.chosen.standing.runtime,
            "status": self.chosen.standing.status,
            "data": self.data.to_dict(),
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "chosen": self.attempts.index(self.chosen),
        }

    def __str__(self) -> str:
        """The table a person reads."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        what, chosen = self.precision.value, self.chosen
        wide = max(len(_RUNS_ON), *(len(attempt.standing.runtime) for attempt in self.attempts))
        yield (
            f"accuracy gate: {what} may lose {self.max_drop:g} points of {self.metric}; fp32 has "
            f"{100 * self.reference:.2f} on {self.data.images} images"
        )
        yield (
            f"  {'not ' + what:>8}  {self.metric:>6}  {'drop':>6}  {'95 % interval':>16}  {'same':>7}  "
            f"{_RUNS_ON:<{wide}}  kept in float"
        )
        for attempt in self.attempts:
            drop = attempt.drop
            ends = "-" if drop.low is None else f"{drop.low:+.2f} to {drop.high:+.2f}"
            yield (
                f"{'>' if attempt is chosen else ' '} {attempt.float_share:>8.1%}  {100 * attempt.value:>6.2f}  "
                f"{drop.points:>+6.2f}  {ends:>16}  {attempt.agreement:>7.2%}  {attempt.standing.runtime:<{wide}}  "
                f"{', '.join(attempt.kept) or '-'}"
            )
        notes = [f"{self.outcome}, {chosen.standing}"]
        if self.predicted is not None:
            notes.append(f"predicted from its graph were {self.predicted.drop.points:+.2f} points")
        if self.fits and chosen.drop.high is not None and chosen.drop.high > self.max_drop:
            notes.append("the interval reaches further, more images would make it sure")
        if chosen.kept and chosen.float_share > _MOST:
            notes.append(f"most multiply-adds are not in {what}, so it may be no faster than without")
        yield "  " + "; ".join(notes)


class AccuracyGateError(VerificationError):
    """No attempt kept within the budget.

    Attributes:
        verdict: every attempt.
        path: the artefact, where it was to be kept all the same; else None.
    """

    def __init__(self, verdict: GateResult, path: Path | None = None) -> None:
        """Say it in one line.

        Args:
            verdict: that missed.
            path: the artefact, if it was kept.
        """
        best = verdict.chosen
        kept = f"{path} was kept all the same" if path else "Nothing was written"
        advice = {
            Precision.FP32: "check --pixels-in, --labels-out and an engine's --no-tf32, which are all that differs",
            Precision.FP16: "use fp32",
            Precision.INT8: "calibrate on more images like those the net sees, or use --precision fp16",
        }[verdict.precision]
        super().__init__(
            f"{verdict.precision.value} artefact may lose {verdict.max_drop:g} points of {verdict.metric}, got "
            f"{best.drop.points:.2f} ({best.standing}) at best in {len(verdict.attempts)} attempts, with "
            f"{best.float_share:.0%} of the multiply-adds in float. {kept}; {advice}."
        )
        self.verdict = verdict
        self.path = path


def within(drop: Drop, max_drop: float) -> bool:
    """Whether a drop is within a budget.

    Args:
        drop: measured.
        max_drop: points.

    Returns:
        True also where it is exactly the budget.
    """
    return drop.points <= max_drop + _ROUNDING
