"""What a benchmark found, and its JSON."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.benchmark.published_latency import Published
from hrnet_deploy.benchmark.timing import Latency, Throughput, WarmUp
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.load_snapshot import Snapshot

SCHEMA = 1
"""Version of the JSON."""


class Scope(str, enum.Enum):
    """What lies between start and end of a timed call."""

    ENGINE = "engine"
    """The engine alone: the input lies where it computes, the output stays there."""
    COPIES = "with_copies"
    """NumPy array in, NumPy array out. Measured on a GPU only: a CPU has nothing to copy."""
    WHOLE = "end_to_end"
    """Encoded images in, answers out, through Predictor."""


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """What was measured.

    Attributes:
        name: file name.
        path: as given.
        sha256: of the file, in hex.
        size_bytes: of the file.
        variant: architecture name.
        precision: from its card.
        input_hw: (height, width) of the network input.
        device: where it ran, such as "cpu" or "cuda:0".
        backend: what ran it, such as "onnxruntime".
        arithmetic: what it computed in, such as "bfloat16".
        picture: what the input was made from.
    """

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
    picture: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One artefact at one batch size, between two points.

    Attributes:
        artefact: index in `Benchmark.artefacts`.
        batch: images per call.
        figure: what was timed.
        latency: of one call.
        warm_up: what came before.
        speed_up: median of the first artefact at this batch, over this one's: 2 is twice as fast; None where the first
            was not measured.
    """

    artefact: int
    batch: int
    figure: Scope
    latency: Latency
    warm_up: WarmUp
    speed_up: float | None

    @property
    def images_per_second(self) -> float:
        """From the median."""
        return 1e3 * self.batch / self.latency.median_ms


@dataclass(frozen=True, kw_only=True)
class StreamRow:
    """One artefact in use by several threads.

    Attributes:
        artefact: index in `Benchmark.artefacts`.
        batch: images per call.
        flow: what was reached.
        single: the same with one thread.
    """

    artefact: int
    batch: int
    flow: Throughput
    single: Throughput

    @property
    def images_per_second(self) -> float:
        """Of all threads together."""
        return self.batch * self.flow.runs_per_second

    @property
    def gain(self) -> float:
        """Throughput over that of one thread."""
        return self.flow.runs_per_second / self.single.runs_per_second


@dataclass(frozen=True)
class Skipped:
    """A batch size that an artefact does not take.

    Attributes:
        artefact: index in `Benchmark.artefacts`.
        batch: images per call.
        reason: a clause.
    """

    artefact: int
    batch: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Everything that was found.

    Attributes:
        artefacts: in the order given; the first is what the others are compared with.
        rows: by figure, batch and artefact.
        streams: rows with several threads; empty unless asked for.
        skipped: what was not measured, and why.
        threads: CPU threads for one inference; None for all cores.
        seconds: spent on each artefact, batch and figure.
        before: the machine before.
        after: and after.
        published: others' figures for the same nets, sizes and batches; None where not asked for.
        warnings: what may have spoilt the figures.
    """

    artefacts: tuple[Artefact, ...]
    rows: tuple[Row, ...]
    streams: tuple[StreamRow, ...]
    skipped: tuple[Skipped, ...]
    threads: int | None
    seconds: float
    before: Snapshot
    after: Snapshot
    published: tuple[Published, ...] | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: names instead of indices, times in ms."""
        return {
            "schema": SCHEMA,
            "threads": self.threads,
            "seconds": self.seconds,
            "artefacts": [_plain(artefact) for artefact in self.artefacts],
            "rows": [
                {
                    "artefact": self.artefacts[row.artefact].path,
                    "batch": row.batch,
                    "figure": row.figure.value,
                    **dataclasses.asdict(row.latency),
                    "images_per_second": row.images_per_second,
                    "speed_up": row.speed_up,
                    "warm_up_runs": row.warm_up.runs,
                    "warm_up_stable": row.warm_up.stable,
                }
                for row in self.rows
            ],
            "streams": [
                {
                    "artefact": self.artefacts[row.artefact].path,
                    "batch": row.batch,
                    "streams": row.flow.streams,
                    "images_per_second": row.images_per_second,
                    "gain": row.gain,
                    **dataclasses.asdict(row.flow.latency),
                }
                for row in self.streams
            ],
            "skipped": [
                {"artefact": self.artefacts[one.artefact].path, "batch": one.batch, "reason": one.reason}
                for one in self.skipped
            ],
            "published": None if self.published is None else [_plain(row) for row in self.published],
            "machine": {"before": self.before.to_dict(), "after": self.after.to_dict()},
            "warnings": list(self.warnings),
        }


def _plain(record: Any) -> dict[str, Any]:
    return {
        name: value.value if isinstance(value, enum.Enum) else list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(record).items()
    }
