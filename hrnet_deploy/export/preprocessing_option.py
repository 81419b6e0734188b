"""The option --preprocessing: that of a code base, or that of another artifact."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.source import ModelInfo
from hrnet_deploy.integrity.inspect import inspect
from hrnet_deploy.spec import Preprocessing, Task

NAMES = ("official", "timm", "mmpretrain", "paddle")
_FILES = (".onnx", ".engine")


def named_preprocessing(name: str | Path, info: ModelInfo) -> Preprocessing:
    """Return the preprocessing before a float input, in the model's channel order."""
    if str(name).lower().endswith(_FILES):
        return _of_file(Path(name), info)
    if name not in NAMES:
        raise UsageError(
            f"--preprocessing must be {', '.join(NAMES)} or an .onnx or .engine file, got '{name}'. Choose one."
        )
    from hrnet_deploy.models.checkpoints import dialects

    if info.task is Task.SEGMENTATION:
        if name != "official":
            raise UsageError(
                f"--preprocessing of a segmentation model must be official or a file, got {name}. Choose one."
            )
        return dialects.OFFICIAL_SEG.preprocessing
    known = (dialects.OFFICIAL, dialects.TIMM, dialects.MMPRETRAIN, dialects.PPCLS)
    return dict(zip(NAMES, known, strict=True))[str(name)].preprocessing


def _of_file(path: Path, info: ModelInfo) -> Preprocessing:

    card = inspect(path).card
    if card is None:
        raise UsageError(f"--preprocessing must name a file with a model card, got {path}. Name one made here.")
    if card.task is not info.task:
        raise UsageError(
            f"--preprocessing must name a file for {info.task.value}, got {path} for {card.task.value}. Name another."
        )
    own, order = card.preprocessing, info.preprocessing.channel_order
    if card.pixels_in and own.channel_order is not order:
        # The card gives the order of its pixels; the model behind them has its own.
        return dataclasses.replace(own, channel_order=order, mean=own.mean[::-1], std=own.std[::-1])
    return own
