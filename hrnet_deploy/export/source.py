"""What an export starts from, and what is known of that model before it is a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata
from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.errors import MissingFileError, UsageError
from hrnet_deploy.export.option_declaration import flag
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.spec import ModelCard, OutputKind, Preprocessing, Task

RANDOM = "random"
"""Name of seeded random weights, for measuring speed."""
DEFAULT_THRESHOLD = 0.5
"""Probability at which a sigmoid divides two classes, unless the file or the user names another."""
CHECKPOINT_ONLY = ("ema", "weights_key", "inplace_abn")
_YES = "true"


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What a checkpoint or a foreign graph states of its model.

    Attributes:
        variant: architecture name, or "foreign".
        num_classes: number of classes; 2 for a head with one channel, 0 without a head.
        native_hw: the size it is published for.
        fixed_hw: the only size its graph takes, if it has one; `fixed_batch` likewise.
        opset: of a foreign graph; None for a checkpoint.
        align_corners: how the scores of a segmentation model are resized to the image.
        threshold: of a head with one channel, the probability above which it predicts the second class; else None.
        features: names of the outputs that are features, in order.
        lineage: file names, digests and how the file was read.
    """

    task: Task
    variant: str
    num_classes: int
    preprocessing: Preprocessing
    native_hw: tuple[int, int]
    fixed_hw: tuple[int, int] | None = None
    fixed_batch: int | None = None
    opset: int | None = None
    output_kind: OutputKind = OutputKind.LOGITS
    align_corners: bool = False
    classes: tuple[str, ...] | None = None
    threshold: float | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None
    features: tuple[str, ...] = ()
    lineage: Mapping[str, str]

    @property
    def headless(self) -> bool:
        """Whether the model computes features only."""
        return self.output_kind is OutputKind.FEATURES


def read_card(path: Path) -> ModelCard | None:
    """Read the card of an .onnx file without its weights; None for a file made elsewhere, or a damaged one."""
    if not path.is_file():
        raise MissingFileError(f"ONNX file must exist, got {path}. Check the path.")
    metadata = read_header(path).metadata
    return card_from_metadata(metadata, path.name) if CARD_KEY in metadata else None


def refuse_options(options: ExportOptions, names: Iterable[str], source: str, reason: str) -> None:
    """Refuse options that only a checkpoint has a use for; `reason` completes "which ..."."""
    for name in names:
        if name in options.given():
            switch = flag(name, getattr(options, name))
            raise UsageError(f"{switch} says how a checkpoint is read, got {source}, which {reason}. Leave it out.")


def checkpoint_lineage(options: ExportOptions, *, align_corners: bool) -> dict[str, str]:
    """Return what a card records, so that its checkpoint can be read the same way again."""
    switches = {"align_corners": align_corners, "inplace_abn": options.inplace_abn, "ema": options.ema}
    key = {} if options.weights_key is None else {"weights_key": options.weights_key}
    return {name: _YES for name, given in switches.items() if given} | key


def recorded_options(card: ModelCard) -> dict[str, Any]:
    """Return the options, by keyword, with which the checkpoint of an artifact was read."""
    lineage = card.lineage
    segmenter = "weights_sha256" in lineage and card.task is Task.SEGMENTATION
    return {
        "ema": "ema" in lineage,
        "weights_key": lineage.get("weights_key"),
        "align_corners": card.align_corners if segmenter else None,
        "inplace_abn": "inplace_abn" in lineage,
    }
