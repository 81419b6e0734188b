"""Where trained weights live, and what their publishers say they reach."""

from __future__ import annotations

import csv
import difflib
import fnmatch
import functools
from dataclasses import dataclass
from importlib.resources import files

from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import Interpolation, Preprocessing, Resize, Rounding, Task

_SIMILAR = 0.5
"""Share of matching characters from which on a name is worth suggesting."""


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """One set of published weights.

    Attributes:
        name: `variant.tag`, what `--weights` takes.
        variant: architecture name, such as "hrnet_w18".
        tag: which training, and who publishes it.
        source: publisher: official, timm, mmpretrain or paddleclas.
        task: what the net answers.
        params: learned parameters; those without head bias (mmpretrain, PaddleClas, SSLD) are counted without.
        gmacs: 1e9 multiply-accumulates of convolutions and linear layers for one image of `input_hw`.
        top1: ImageNet top-1 in percent as published, or None.
        top5: ImageNet top-5 in percent as published, or None.
        miou: Cityscapes val mean IoU in percent as published, or None.
        input_hw: (height, width) in pixels of the published evaluation.
        resize: how that evaluation reaches the size.
        crop_pct: size / short side before the centre crop.
        interpolation: its resampling filter.
        rounding: its dialect of rounding.
        url: where the file can be downloaded, or None where only a browser gets it.
        digest: first hex digits of the file's SHA-256, or None where the publisher gives none.
        filename: the file's name in the cache, unique to its content.
        note: where to get it by hand, or what to know about it.

    Source: the publishers' model tables; parameters and MACs counted on the reference models.
    """

    name: str
    variant: str
    tag: str
    source: str
    task: Task
    params: int
    gmacs: float
    top1: float | None
    top5: float | None
    miou: float | None
    input_hw: tuple[int, int]
    resize: Resize
    crop_pct: float
    interpolation: Interpolation
    rounding: Rounding
    url: str | None
    digest: str | None
    filename: str
    note: str

    @property
    def by_hand(self) -> bool:
        """Whether only a browser gets the file."""
        return self.url is None

    @property
    def preprocessing(self) -> Preprocessing:
        """From image to network input as the published figures were measured."""
        return Preprocessing(
            resize=self.resize,
            size_hw=self.input_hw,
            crop_pct=self.crop_pct,
            interpolation=self.interpolation,
            rounding=self.rounding,
        )


@functools.cache
def entries() -> tuple[ZooEntry, ...]:
    """Every row of the zoo, by variant.

    Returns:
        The rows; read once.
    """
    text = files("hrnet_deploy.data").joinpath("zoo.csv").read_text(encoding="utf-8")
    return tuple(_entry(row) for row in csv.DictReader(text.splitlines()))


def list_models(pattern: str = "*") -> tuple[ZooEntry, ...]:
    """Rows whose name or variant matches.

    Args:
        pattern: shell-style wildcards, any case, such as "hrnet_w18.*" or "*ssld*".

    Returns:
        The rows; empty where none matches.
    """
    wanted = pattern.strip().lower()
    return tuple(
        entry
        for entry in entries()
        if fnmatch.fnmatchcase(entry.name, wanted) or fnmatch.fnmatchcase(entry.variant, wanted)
    )


def find_entry(name: str) -> ZooEntry:
    """The row of that name.

    Args:
        name: `variant.tag`, any case.

    Returns:
        The row.

    Raises:
        UsageError: no such row; the message names the closest.
    """
    wanted = name.strip().lower()
    for entry in entries():
        if entry.name == wanted:
            return entry
    raise UsageError(f"zoo name must be one of those hrnet-models lists, got '{name}'. {suggestion(name)}")


def closest_names(name: str, count: int = 4) -> tuple[str, ...]:
    """Zoo names a person may have meant.

    Args:
        name: what was typed.
        count: how many at most.

    Returns:
        The names, likeliest first: all of one variant where its name was given, else similar spellings; may be empty.
    """
    wanted = name.strip().lower()
    same_variant = [entry.name for entry in entries() if entry.variant == wanted]
    if same_variant:
        return tuple(same_variant[:count])
    scores = {entry.name: difflib.SequenceMatcher(None, entry.name, wanted).ratio() for entry in entries()}
    # A stable sort, so that of two equally close names the smaller net comes first.
    return tuple(sorted((n for n in scores if scores[n] >= _SIMILAR), key=lambda n: -scores[n])[:count])


def suggestion(name: str) -> str:
    """The closing sentence of an error about an unknown name.

    Args:
        name: what was typed.

    Returns:
        One sentence naming the closest rows, or the command that lists all.
    """
    names = closest_names(name)
    return f"Did you mean {' or '.join(names)}?" if names else "Run hrnet-models to see all."


def _entry(row: dict[str, str]) -> ZooEntry:
    return ZooEntry(
        name=f"{row['variant']}.{row['tag']}",
        variant=row["variant"],
        tag=row["tag"],
        source=row["source"],
        task=Task(row["task"]),
        params=int(row["params"]),
        gmacs=float(row["gmacs"]),
        top1=_percent(row["top1"]),
        top5=_percent(row["top5"]),
        miou=_percent(row["miou"]),
        input_hw=(int(row["height"]), int(row["width"])),
        resize=Resize(row["resize"]),
        crop_pct=float(row["crop_pct"]),
        interpolation=Interpolation(row["interpolation"]),
        rounding=Rounding(row["rounding"]),
        url=row["url"] or None,
        digest=row["digest"] or None,
        filename=row["filename"],
        note=row["note"],
    )


def _percent(text: str) -> float | None:
    return float(text) if text else None
