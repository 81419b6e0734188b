"""The content of a report, independent of its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hrnet_deploy.benchmark.timing import Latency
from hrnet_deploy.engines.difference import Cosine
from hrnet_deploy.evaluation.comparison import CandidateComparison, ClassDelta, Comparison, Drop
from hrnet_deploy.evaluation.evaluate import Evaluation
from hrnet_deploy.evaluation.metrics.classification import TOP, ClassificationMetrics
from hrnet_deploy.evaluation.run_info import DataInfo, EvaluatedModel
from hrnet_deploy.evaluation.runtime_status import PredictionPair, RuntimeStatus
from hrnet_deploy.evaluation.waterfall_result import WaterfallStep
from hrnet_deploy.report.thumbnails import ExampleImage
from hrnet_deploy.spec import Task
from hrnet_deploy.system.load_snapshot import Snapshot
from hrnet_deploy.version import VERSION

SCHEMA = 1
"""Version of a report's JSON."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """One artifact of a report.

    Attributes:
        letter: "R" for the reference, "A", "B", ... for candidates.
        label: file name, with the folders that make it unique in the report.
        comparison: losses against the reference; None for the reference.
        latency: time for one image through the graph, copies included, reading and preprocessing excluded.
        features: by output, the cosine similarity of a feature to the reference's; empty where none is shared.
    """

    letter: str
    label: str
    evaluation: Evaluation
    comparison: CandidateComparison | None
    latency: Latency
    runtime_status: RuntimeStatus
    examples: tuple[ExampleImage, ...] = field(default=(), repr=False)
    features: Mapping[str, Cosine] = field(default_factory=dict)

    @property
    def model(self) -> EvaluatedModel:
        """The artifact."""
        return self.evaluation.model

    @property
    def value(self) -> float:
        """The metric to judge by, 0..1."""
        return self.evaluation.metrics.value

    @property
    def drop(self) -> Drop | None:
        """Loss of the metric to judge by; None for the reference."""
        return self.comparison.drop if self.comparison else None

    @property
    def top5(self) -> float | None:
        """Top-5 accuracy, 0..1; None for segmentation."""
        metrics = self.evaluation.metrics
        return metrics.top5 if isinstance(metrics, ClassificationMetrics) else None

    @property
    def top5_drop(self) -> Drop | None:
        """Loss of top-5 accuracy; None for the reference and for segmentation."""
        drops = self.comparison.drops if self.comparison and self.top5 is not None else ()
        return next((drop for drop in drops if drop.name == f"top-{TOP}"), None)

    @property
    def judged_classes(self) -> list[ClassDelta]:
        """Classes with labels in the data, largest loss first; empty for the reference."""
        deltas = self.comparison.classes if self.comparison else ()
        judged = [delta for delta in deltas if delta.points is not None and delta.support]
        return sorted(judged, key=lambda delta: (-(delta.points or 0), delta.index))

    @property
    def worst_class(self) -> ClassDelta | None:
        """The class with the largest loss; None where no class loses."""
        return next((delta for delta in self.judged_classes if (delta.points or 0) > 0), None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """All results of a report.

    Attributes:
        rows: the reference, then the candidates in the given order.
        machine: state of the CPU before the run, and of GPUs after it where one was used.
        created: date and time, ISO 8601 in UTC.
        waterfall: steps from the checkpoint to the artifacts; empty where they were not measured.
    """

    comparison: Comparison
    rows: tuple[Row, ...]
    pairs: tuple[PredictionPair, ...]
    machine: Snapshot
    command: str
    created: str
    waterfall: tuple[WaterfallStep, ...] = ()

    @property
    def reference(self) -> Row:
        """The row that the others are compared with."""
        return self.rows[0]

    @property
    def candidates(self) -> tuple[Row, ...]:
        """All rows but the reference."""
        return self.rows[1:]

    @property
    def data(self) -> DataInfo:
        """The images."""
        return self.comparison.reference.data

    @property
    def segmentation(self) -> bool:
        """Whether the models segment; else they classify."""
        return self.reference.model.card.task is Task.SEGMENTATION

    @property
    def metric(self) -> str:
        """Name of the metric to judge by, "top-1" or "mIoU"."""
        return self.reference.evaluation.metrics.name

    @property
    def class_metric(self) -> str:
        """Name of that metric for one class, "top-1" or "IoU"."""
        return "IoU" if self.metric == "mIoU" else self.metric

    @property
    def second_metric(self) -> str:
        """Name of a second metric: "top-5" for more than five classes, else ""."""
        return f"top-{TOP}" if not self.segmentation and len(self.reference.evaluation.classes) > TOP else ""

    @property
    def with_features(self) -> bool:
        """Whether a candidate shares features with the reference."""
        return any(row.features for row in self.rows)

    @property
    def gpus(self) -> str:
        """The GPUs on one line; "" where none was used."""
        return "; ".join(map(str, self.machine.gpus))

    def speed_up(self, row: Row) -> float | None:
        """Divide the reference's median time by the row's; None where one of them is a prediction."""
        if row.runtime_status.predicted or self.reference.runtime_status.predicted:
            return None
        return self.reference.latency.median_ms / row.latency.median_ms if row.latency.median_ms else None

    def times_smaller(self, row: Row) -> float | None:
        """Divide the reference's file size by the row's; None without a file."""
        return self.reference.model.size_bytes / row.model.size_bytes if row.model.size_bytes else None

    def to_dict(self) -> dict[str, Any]:
        """Convert everything but the images to JSON values."""
        comparison = self.comparison.to_dict()
        results = [{"evaluation": comparison["reference"]}, *comparison["candidates"]]
        return {
            "schema": SCHEMA,
            "tool": f"hrnet-report {VERSION}",
            "created": self.created,
            "command": self.command,
            "machine": self._machine(),
            "metric": comparison["metric"],
            "interval": comparison["interval"],
            "rows": [self._row(row) | result for row, result in zip(self.rows, results, strict=True)],
            "predictions": [pair.to_dict([row.label for row in self.rows]) for pair in self.pairs],
            "waterfall": [step.to_dict() for step in self.waterfall],
        }

    def _row(self, row: Row) -> dict[str, Any]:
        times = {"median_ms": row.latency.median_ms, "p95_ms": row.latency.p95_ms}
        rounded = {name: None if value is None else round(value, 4) for name, value in times.items()}
        return {
            "letter": row.letter,
            "label": row.label,
            "reference": row.comparison is None,
            "runtime": row.runtime_status.runtime,
            "status": row.runtime_status.status,
            "latency": rounded | {"runs": row.latency.samples},
            "speed_up": self.speed_up(row),
            "times_smaller": self.times_smaller(row),
            "features": {name: {"cosine": one.mean, "cosine_worst": one.worst} for name, one in row.features.items()},
        }

    def _machine(self) -> dict[str, Any]:
        machine, cpu = self.machine, self.machine.processor
        found = {"cpu": cpu.model, "cores": cpu.cores, "load": cpu.load, "governor": cpu.governor, "gpu": self.gpus}
        return found | {"system": machine.system, "python": machine.python, "packages": machine.packages}
