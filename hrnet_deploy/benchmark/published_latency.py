"""Latencies others published, to stand beside ours; measured on other hardware, and labelled so."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib.resources import files

from hrnet_deploy.spec import Precision


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published latency.

    Attributes:
        variant: architecture name, such as "hrnet_w18".
        hardware: such as "Tesla T4".
        runtime: what ran it.
        precision: of the engine.
        input_hw: (height, width) of the network input.
        batch: images per inference.
        latency_ms: of one batch.
        source: who says so, and where.
    """

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
def published() -> tuple[Published, ...]:
    """Every row of the table.

    Returns:
        By variant, hardware, precision and batch.

    Source: data/published.csv, which names one for each row.
    """
    text = files("hrnet_deploy.data").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            variant=row["variant"],
            hardware=row["hardware"],
            runtime=row["runtime"],
            precision=Precision(row["precision"]),
            input_hw=(int(row["height"]), int(row["width"])),
            batch=int(row["batch"]),
            latency_ms=float(row["latency_ms"]),
            source=row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def published_for(variant: str, batch: int, input_hw: tuple[int, int]) -> tuple[Published, ...]:
    """What is published for a net.

    Args:
        variant: architecture name.
        batch: images per inference.
        input_hw: (height, width) of the network input.

    Returns:
        The rows of just that net, batch and size; empty where there are none.
    """
    wanted = (variant, batch, input_hw)
    return tuple(row for row in published() if (row.variant, row.batch, row.input_hw) == wanted)
