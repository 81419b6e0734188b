"""What is known of a net before it is a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hrnet_deploy.spec import OutputKind, Preprocessing, Task

RANDOM = "random"
"""The weights that are none: seeded noise, for measuring speed."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What a checkpoint or a foreign graph says of itself.

    Attributes:
        task: what it answers.
        variant: architecture name, or "foreign".
        num_classes: how many classes its head tells apart; 2 of a head with one channel.
        preprocessing: its own.
        native_hw: the size it is published for.
        fixed_hw: the only size its graph takes, if it has one.
        opset: of a foreign graph; None for a checkpoint.
        fixed_batch: the only batch its graph takes, if it has one.
        output_kind: what its output holds.
        align_corners: how a segmentation net's scores are resized to the image.
        classes: their names, where the file has them.
        threshold: of a head with one channel, the probability above which the second class is meant; else None.
        palette: class colours, RGB, where the file has them.
        lineage: where it came from.
    """

    task: Task
    variant: str
    num_classes: int
    preprocessing: Preprocessing
    native_hw: tuple[int, int]
    fixed_hw: tuple[int, int] | None = None
    opset: int | None = None
    fixed_batch: int | None = None
    output_kind: OutputKind = OutputKind.LOGITS
    align_corners: bool = False
    classes: tuple[str, ...] | None = None
    threshold: float | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None
    lineage: Mapping[str, str]
