"""Result of the accuracy gate: every trial, and the chosen one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrnet_deploy.errors import VerificationError
from hrnet_deploy.evaluation import DataInfo, Drop
from hrnet_deploy.evaluation.runtime_status import RuntimeStatus
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.text_table import Table

_ROUNDING = 1e-9
_MOST = 0.5


@dataclass(frozen=True)
class Trial:
    """One measured candidate.

    Attributes:
        kept: blocks kept in float to meet the target, most sensitive first.
        float_share: share of the convolutions' multiply-adds that are not in the artifact's precision, 0..1.
        value: metric, 0..1.
        agreement: share of outputs equal to those of the float32 graph, 0..1.
    """

    kept: tuple[str, ...]
    float_share: float
    value: float
    drop: Drop
    agreement: float
    runtime_status: RuntimeStatus

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        own = {name: value for name, value in vars(self).items() if name != "runtime_status"}
        status = {"runtime": self.runtime_status.runtime, "status": self.runtime_status.status}
        return {**own, "kept": list(self.kept), "drop": self.drop.to_dict(), **status}


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """Whether an artifact loses at most `max_drop` percentage points of a metric.

    Attributes:
        reference: metric of the float32 graph, 0..1.
        attempts: in order; the first is the artifact as requested. The graphs of an engine come before the engines.
    """

    precision: Precision
    metric: str
    reference: float
    max_drop: float
    data: DataInfo
    attempts: tuple[Trial, ...]

    @property
    def chosen(self) -> Trial:
        """The passing trial with the fewest blocks in float, else the one that loses least; engines before graphs."""
        trials = [trial for trial in self.attempts if not trial.runtime_status.predicted] or self.attempts
        passing = [trial for trial in trials if within(trial.drop, self.max_drop)]
        if passing:
            return min(passing, key=lambda trial: len(trial.kept))
        return min(trials, key=lambda trial: trial.drop.points)

    @property
    def predicted(self) -> Trial | None:
        """Prediction for a chosen engine from its graph; None if there is none, or nothing else."""
        chosen = self.chosen
        same = (trial for trial in self.attempts if trial.runtime_status.predicted and trial.kept == chosen.kept)
        return None if chosen.runtime_status.predicted else next(same, None)

    @property
    def outcome(self) -> str:
        """Either "fits", "repaired" or "missed"."""
        if not within(self.chosen.drop, self.max_drop):
            return "missed"
        return "repaired" if self.chosen.kept else "fits"

    @property
    def passed(self) -> bool:
        """Whether the chosen trial meets the target."""
        return self.outcome != "missed"

    def lineage(self) -> dict[str, str]:
        """Entries for the card's `lineage`."""
        return {
            "gate": self.outcome,
            "gate_metric": self.metric,
            "gate_kept": ",".join(self.chosen.kept),
            "gate_images_sha256": self.data.digest,
            "gate_measured_on": self.chosen.runtime_status.runtime,
            "gate_status": self.chosen.runtime_status.status,
        }

    def measured(self) -> dict[str, float]:
        """Entries for the card's `measured`: points, shares and counts, and the prediction for an engine."""
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
        """Convert to JSON values."""
        return {
            "outcome": self.outcome,
            "precision": self.precision.value,
            "metric": self.metric,
            "reference": self.reference,
            "max_drop": self.max_drop,
            "measured_on": self.chosen.runtime_status.runtime,
            "status": self.chosen.runtime_status.status,
            "data": self.data.to_dict(),
            "attempts": [trial.to_dict() for trial in self.attempts],
            "chosen": self.attempts.index(self.chosen),
        }

    def __str__(self) -> str:
        """The trials as a table for a terminal."""
        what, chosen = self.precision.value, self.chosen
        title = (
            f"accuracy gate: {what} may lose {self.max_drop:g} points of {self.metric}; fp32 has "
            f"{100 * self.reference:.2f} on {self.data.images} images"
        )
        header = ("", f"not {what}", self.metric, "drop", "95 % interval", "same", "runs on", "kept in float")
        rows = [(">" if trial is chosen else "", *_cells(trial)) for trial in self.attempts]
        notes = [f"{self.outcome}, {chosen.runtime_status}"]
        if self.predicted is not None:
            notes.append(f"predicted from its graph were {self.predicted.drop.points:+.2f} points")
        if self.passed and chosen.drop.high is not None and chosen.drop.high > self.max_drop:
            notes.append("the interval reaches further, more images would make it sure")
        if chosen.kept and chosen.float_share > _MOST:
            notes.append(f"most multiply-adds are not in {what}, so it may be no faster than without")
        table = Table(header, rows, words=(header[0], *header[-2:])).text()
        return "\n".join([title, *table, "  " + "; ".join(notes)])


def _cells(trial: Trial) -> tuple[str, ...]:
    drop = trial.drop
    return (
        f"{trial.float_share:.1%}",
        f"{100 * trial.value:.2f}",
        f"{drop.points:+.2f}",
        "-" if drop.low is None else f"{drop.low:+.2f} to {drop.high:+.2f}",
        f"{trial.agreement:.2%}",
        trial.runtime_status.runtime,
        ", ".join(trial.kept) or "-",
    )


class AccuracyGateError(VerificationError):
    """No trial meets the accuracy target; `verdict` has them all, and `path` is the artifact, if it was kept."""

    def __init__(self, verdict: GateResult, path: Path | None = None) -> None:
        best = verdict.chosen
        kept = f"{path} was kept" if path else "Nothing was written"
        advice = {
            Precision.FP32: "check --pixels-in, --labels-out and an engine's --no-tf32, which are all that differs",
            Precision.FP16: "use fp32",
            Precision.INT8: "calibrate on more images like those the model sees, or use --precision fp16",
        }[verdict.precision]
        super().__init__(
            f"{verdict.precision.value} artifact may lose {verdict.max_drop:g} points of {verdict.metric}, got "
            f"{best.drop.points:.2f} ({best.runtime_status}) at best in {len(verdict.attempts)} attempts, with "
            f"{best.float_share:.0%} of the multiply-adds in float. {kept}; {advice}."
        )
        self.verdict = verdict
        self.path = path


def within(drop: Drop, max_drop: float) -> bool:
    """Whether a measured drop is at most `max_drop` points."""
    return drop.points <= max_drop + _ROUNDING
