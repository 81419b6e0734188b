"""What a report says, before it is written in any format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hrnet_deploy.benchmark.timing import Latency
from hrnet_deploy.evaluation.comparison import CandidateComparison, ClassDelta, Comparison, Drop
from hrnet_deploy.evaluation.evaluate import Evaluation
from hrnet_deploy.evaluation.metrics.classification import TOP, ClassificationMetrics
from hrnet_deploy.evaluation.run_info import EvaluatedModel
from hrnet_deploy.report.pictures import Exhibit
from hrnet_deploy.report.standing import Pair, Standing
from hrnet_deploy.report.waterfall import Step
from hrnet_deploy.system.load_snapshot import Snapshot
from hrnet_deploy.version import VERSION

SCHEMA = 1
"""Version of a report's JSON."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """One artefact.

    Attributes:
        letter: "R" for the reference, "A", "B", ... for candidates.
        label: its file name, with as many folders as make it unlike the others.
        evaluation: how good it is.
        contrast: what it loses; None for the reference.
        latency: of one image inside the graph, copies included, reading and preprocessing not.
        standing: where it ran and what that says.
        exhibits: the worst of the images it changed.
    """

    letter: str
    label: str
    evaluation: Evaluation
    contrast: CandidateComparison | None
    latency: Latency
    standing: Standing
    exhibits: tuple[Exhibit, ...] = field(default=(), repr=False)

    @property
    def model(self) -> EvaluatedModel:
        """The artefact."""
        return self.evaluation.model

    @property
    def top5(self) -> float | None:
        """Share of images whose label is among the five best, 0..1; None of a net that segments."""
        metrics = self.evaluation.metrics
        return metrics.top5 if isinstance(metrics, ClassificationMetrics) else None

    @property
    def top5_drop(self) -> Drop | None:
        """How much lower that is than the reference's; None for the reference, and of a net that segments."""
        drops = self.contrast.drops if self.contrast and self.top5 is not None else ()
        return next((drop for drop in drops if drop.name == f"top-{TOP}"), None)

    @property
    def worst(self) -> ClassDelta | None:
        """The class that loses most; None where none loses, and for the reference."""
        deltas = [delta for delta in self.contrast.classes if delta.points is not None] if self.contrast else []
        losing = [delta for delta in deltas if delta.support and (delta.points or 0) > 0]
        return max(losing, key=lambda delta: delta.points or 0, default=None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """Everything a report shows.

    Attributes:
        comparison: what was found.
        rows: the reference, then the candidates in the order given.
        pairs: predictions beside measurements.
        waterfall: steps from the checkpoint to the artefacts; empty where they were not measured.
        machine: what it was measured on: before the start, GPUs right after the work and only where one was used.
        command: the command line, as a person would type it.
        created: date and time, ISO 8601 in UTC.
    """

    comparison: Comparison
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    machine: Snapshot
    command: str
    created: str
    waterfall: tuple[Step, ...] = ()

    @property
    def reference(self) -> Row:
        """The row others are compared with."""
        return self.rows[0]

    @property
    def candidates(self) -> tuple[Row, ...]:
        """All other rows."""
        return self.rows[1:]

    @property
    def metric(self) -> str:
        """Name of the figure to judge by, "top-1" or "mIoU"."""
        return self.reference.evaluation.metrics.name

    @property
    def second(self) -> str:
        """Name of a second figure worth a column, "top-5" of more than five classes; "" where there is none."""
        evaluation = self.reference.evaluation
        telling = isinstance(evaluation.metrics, ClassificationMetrics) and len(evaluation.classes) > TOP
        return f"top-{TOP}" if telling else ""

    @property
    def gpus(self) -> str:
        """The GPUs on one line; "" where none was used."""
        return "; ".join(map(str, self.machine.gpus))

    def speed_up(self, row: Row) -> float | None:
        """How many times as fast as the reference.

        Args:
            row: of this report.

        Returns:
            Ratio of the medians; None where one of them is a prediction, whose time here is not its target's.
        """
        if row.standing.predicted or self.reference.standing.predicted:
            return None
        return self.reference.latency.median_ms / row.latency.median_ms if row.latency.median_ms else None

    def shrinkage(self, row: Row) -> float | None:
        """How many times as small as the reference.

        Args:
            row: of this report.

        Returns:
            Ratio of the file sizes; None without a file.
        """
        return self.reference.model.size_bytes / row.model.size_bytes if row.model.size_bytes else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: everything but the pictures."""
        comparison = self.comparison.to_dict()
        labels = [row.label for row in self.rows]
        found = [comparison["reference"], *comparison["candidates"]]
        return {
            "schema": SCHEMA,
            "tool": f"hrnet-report {VERSION}",
            "created": self.created,
            "command": self.command,
            "machine": self._machine(),
            "metric": comparison["metric"],
            "interval": comparison["interval"],
            "rows": [
                {
                    "letter": row.letter,
                    "label": row.label,
                    "reference": row.contrast is None,
                    "runtime": row.standing.runtime,
                    "status": row.standing.status,
                    "latency": _latency(row.latency),
                    "speed_up": self.speed_up(row),
                    "times_smaller": self.shrinkage(row),
                    **(content if "evaluation" in content else {"evaluation": content}),
                }
                for row, content in zip(self.rows, found, strict=True)
            ],
            "predictions": [pair.to_dict(labels) for pair in self.pairs],
            "waterfall": [step.to_dict() for step in self.waterfall],
        }

    def _machine(self) -> dict[str, Any]:
        machine, cpu = self.machine, self.machine.processor
        return {
            "cpu": cpu.model,
            "cores": cpu.cores,
            "load": cpu.load,
            "governor": cpu.governor,
            "gpu": self.gpus,
            "system": machine.system,
            "python": machine.python,
            "packages": machine.packages,
        }


def _latency(latency: Latency) -> dict[str, Any]:
    p95 = None if latency.p95_ms is None else round(latency.p95_ms, 4)
    return {"median_ms": round(latency.median_ms, 4), "p95_ms": p95, "runs": latency.samples}
