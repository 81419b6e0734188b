"""The result of a benchmark, and its JSON."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.benchmark.published_latency import PublishedLatency
from hrnet_deploy.benchmark.timing import Latency, Throughput, WarmUp
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.load_snapshot import Snapshot

SCHEMA = 1
"""Version of the JSON."""


class Scope(str, enum.Enum):
    """The part of an inference that a timed call covers."""

    ENGINE = "engine"
    """The engine alone: input and output stay in the engine's memory."""
    COPIES = "with_copies"
    """NumPy array in, NumPy array out. Measured on a GPU only, because a CPU copies nothing."""
    WHOLE = "end_to_end"
    """Encoded images in, predictions out, through Predictor."""


@dataclass(frozen=True, kw_only=True)
class ArtifactInfo:
    """A measured artifact, and the name of its input image."""

    name: str
    path: str
    sha256: str
    size_bytes: int
    variant: str
    precision: Precision
    input_hw: tuple[int, int]
    device: str
    backend: str
    arithmetic: str
    image: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """The latency of one artifact at one batch size, in one scope.

    Attributes:
        artifact: index in `Benchmark.artifacts`.
        speed_up: median of the first artifact at this batch, over this one's: 2 is twice as fast; None if the first
            was not measured.
    """

    artifact: int
    batch: int
    scope: Scope
    latency: Latency
    warm_up: WarmUp
    speed_up: float | None

    @property
    def images_per_second(self) -> float:
        """Throughput at the median latency."""
        return 1e3 * self.batch / self.latency.median_ms


@dataclass(frozen=True, kw_only=True)
class StreamRow:
    """The throughput of one artifact that several threads share, and that of a single thread."""

    artifact: int
    batch: int
    throughput: Throughput
    single: Throughput

    @property
    def images_per_second(self) -> float:
        """Of all threads together."""
        return self.batch * self.throughput.runs_per_second

    @property
    def gain(self) -> float:
        """Throughput over that of one thread."""
        return self.throughput.runs_per_second / self.single.runs_per_second


@dataclass(frozen=True)
class Skipped:
    """A batch size that an artifact does not take, and the reason as a clause."""

    artifact: int
    batch: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The whole result.

    Attributes:
        artifacts: in the order given; the first is the reference of the speed-ups.
        seconds: per artifact, batch and scope.
        warnings: conditions that may have distorted the results.
    """

    artifacts: tuple[ArtifactInfo, ...]
    rows: tuple[Row, ...]
    streams: tuple[StreamRow, ...]
    skipped: tuple[Skipped, ...]
    threads: int | None
    seconds: float
    before: Snapshot
    after: Snapshot
    published: tuple[PublishedLatency, ...] | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON: names instead of indices, times in ms."""
        paths = [artifact.path for artifact in self.artifacts]
        rows = [
            {"artefact": paths[row.artifact], "batch": row.batch, "figure": row.scope.value}
            | dataclasses.asdict(row.latency)
            | {"images_per_second": row.images_per_second, "speed_up": row.speed_up}
            | {"warm_up_runs": row.warm_up.runs, "warm_up_stable": row.warm_up.stable}
            for row in self.rows
        ]
        streams = [
            {"artefact": paths[row.artifact], "batch": row.batch, "streams": row.throughput.streams}
            | {"images_per_second": row.images_per_second, "gain": row.gain}
            | dataclasses.asdict(row.throughput.latency)
            for row in self.streams
        ]
        return {
            "schema": SCHEMA,
            "threads": self.threads,
            "seconds": self.seconds,
            "artefacts": [_plain_artifact(artifact) for artifact in self.artifacts],
            "rows": rows,
            "streams": streams,
            "skipped": [{"artefact": paths[n.artifact], "batch": n.batch, "reason": n.reason} for n in self.skipped],
            "published": None if self.published is None else [_plain(row) for row in self.published],
            "machine": {"before": self.before.to_dict(), "after": self.after.to_dict()},
            "warnings": list(self.warnings),
        }


def _plain_artifact(artifact: ArtifactInfo) -> dict[str, Any]:
    content = _plain(artifact)
    return content | {"picture": content.pop("image")}


def _plain(record: Any) -> dict[str, Any]:
    return {
        name: value.value if isinstance(value, enum.Enum) else list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(record).items()
    }
