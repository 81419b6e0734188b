"""Published latencies, measured on other hardware."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib.resources import files

from hrnet_deploy.spec import Precision


@dataclass(frozen=True, kw_only=True)
class PublishedLatency:
    """One published latency of a batch on hardware such as "Tesla T4"."""

    variant: str
    hardware: str
    runtime: str
    precision: Precision
    input_hw: tuple[int, int]
    batch: int
    latency_ms: float
    source: str

    @property
    def setting(self) -> str:
        """Hardware and precision, such as "Tesla T4 fp16"."""
        return f"{self.hardware} {self.precision.value}"


@functools.cache
def published_latencies() -> tuple[PublishedLatency, ...]:
    """Return every row of the table data/published.csv, which names a source for each."""
    text = files("hrnet_deploy.data").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedLatency(
            **{name: row[name] for name in ("variant", "hardware", "runtime", "source")},
            precision=Precision(row["precision"]),
            input_hw=(int(row["height"]), int(row["width"])),
            batch=int(row["batch"]),
            latency_ms=float(row["latency_ms"]),
        )
        for row in csv.DictReader(text.splitlines())
    )


def published_for(variant: str, batch: int, input_hw: tuple[int, int]) -> tuple[PublishedLatency, ...]:
    """Return the published latencies of an architecture at exactly this batch and (height, width)."""
    wanted = (variant, batch, input_hw)
    return tuple(row for row in published_latencies() if (row.variant, row.batch, row.input_hw) == wanted)
