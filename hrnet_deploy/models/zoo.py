"""Published weights: where they are, and the figures of their publishers."""

from __future__ import annotations

import csv
import difflib
import fnmatch
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.variants import VARIANTS
from hrnet_deploy.spec import Interpolation, Preprocessing, Resize, Rounding, Task

_SHOWN = 4
_SIMILAR = 0.5
"""Minimum share of matching characters for a suggestion."""
_LONGEST_NAME = 120
_HUB = re.compile(r"hf[-_]hub:|https?://(?:www\.)?huggingface\.co/(?=[^/]+/[^/]+/?$)")
"""Possible prefixes of the name of a repository on the Hugging Face hub."""
_HUB_FILE = re.compile(r"https://huggingface\.co/(timm/([^/]+))/")
_FILE_SUFFIX = re.compile(r"\.(?:pth\.tar|pth|pdparams|safetensors)$")
_MMSEGMENTATION = re.compile(r"(?:fcn|ocrnet)_hr(18s|18|48)_")
_KINDS: Mapping[str, Callable[[str], Any]] = {
    "task": Task,
    "params": int,
    "gmacs": float,
    "crop_pct": float,
    "resize": Resize,
    "interpolation": Interpolation,
    "rounding": Rounding,
}
_MMSEGMENTATION_VARIANTS = {"18s": "hrnetv2_w18_small_v2", "18": "hrnetv2_w18", "48": "hrnetv2_w48"}
"""Source: mmsegmentation, configs/hrnet."""


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """One set of published weights. Source: the publishers' model tables; cost counted on the reference models.

    Attributes:
        name: `variant.tag`, the value of `--weights`.
        source: publisher: official, timm, mmpretrain or paddleclas.
        params: learned parameters; without head bias where the weights have none (mmpretrain, PaddleClas, SSLD).
        gmacs: 1e9 multiply-accumulates of convolutions and linear layers for one image of `input_hw`.
        top1: ImageNet top-1 in percent as published, or None.
        miou: Cityscapes val mean IoU in percent as published, or None.
        input_hw: (height, width) in pixels of the published evaluation; its preprocessing follows.
        url: address of the file, or None where it must be fetched with a browser.
        digest: first hex digits of the file's SHA-256, or None where the publisher gives none.
        filename: the file's name in the cache, unique to its content.
        aliases: the publisher's own names of the weights and of the file, in lower case.
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
    aliases: tuple[str, ...]
    note: str

    @property
    def by_hand(self) -> bool:
        """Whether the file must be fetched with a browser."""
        return self.url is None

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of the published figures."""
        return Preprocessing(
            resize=self.resize,
            size_hw=self.input_hw,
            crop_pct=self.crop_pct,
            interpolation=self.interpolation,
            rounding=self.rounding,
        )


@functools.cache
def entries() -> tuple[ZooEntry, ...]:
    """Read every row of the zoo once, by variant."""
    text = files("hrnet_deploy.data").joinpath("zoo.csv").read_text(encoding="utf-8")
    return tuple(_entry(row) for row in csv.DictReader(text.splitlines()))


def list_models(pattern: str = "*") -> tuple[ZooEntry, ...]:
    """List the rows whose name, variant or published name matches.

    Args:
        pattern: shell-style wildcards, any case, such as "hrnet_w18.*", "*ssld*" or "HRNet_W18_C".
    """
    wanted = _plain(pattern)
    return tuple(
        entry
        for entry in entries()
        if any(fnmatch.fnmatchcase(name, wanted) for name in (entry.name, entry.variant, *entry.aliases))
    )


def named_entry(name: str) -> ZooEntry | None:
    """Find the row of `variant.tag`, or of the publisher's name of the weights or their file, in any case.

    Such names are "HRNet_W18_C_ssld", "hrnet-w18_3rdparty_8xb32_in1k" and "timm/hrnet_w18.ms_in1k". None where no row
    has the name; UsageError where two publishers use it.
    """
    wanted = _plain(name)
    found = [entry for entry in entries() if entry.name == wanted]
    found = found or [entry for entry in entries() if wanted in entry.aliases]
    if len({entry.filename for entry in found}) > 1:
        names = " or ".join(f"{entry.name} ({entry.source})" for entry in found)
        raise UsageError(f"zoo name must stand for one file, got '{name}', which is {names}. Give one of those names.")
    return found[0] if found else None


def has_name(text: str) -> bool:
    """Whether a text is a name of the zoo rather than of a file: a row, a publisher's name or a variant."""
    wanted = _plain(text)
    return any(wanted in {entry.name, entry.variant, *entry.aliases} for entry in entries())


def find_entry(name: str) -> ZooEntry:
    """Return the row of a name, as `named_entry`; raise UsageError, which names the closest, where there is none."""
    entry = named_entry(name)
    if entry is None:
        raise UsageError(f"zoo name must be one of those hrnet-models lists, got '{name}'. {suggestion(name)}")
    return entry


def default_entry(variant: str) -> ZooEntry | None:
    """Choose a variant's default weights: a file that downloads, if possible with a known digest; None without one."""
    known = [entry for entry in entries() if entry.variant == variant and not entry.by_hand]
    return min(known, key=lambda entry: entry.digest is None, default=None)


def closest_names(name: str) -> tuple[str, ...]:
    """Return similar zoo names, likeliest first: all of a variant where its name is given, else similar spellings."""
    wanted = _plain(name)[:_LONGEST_NAME]
    variant = _variant_meant(wanted)
    same_variant = [entry.name for entry in entries() if entry.variant == variant]
    if same_variant:
        return tuple(same_variant[:_SHOWN])
    scores = {
        entry.name: max(difflib.SequenceMatcher(None, known, wanted).ratio() for known in (entry.name, *entry.aliases))
        for entry in entries()
    }
    # The sort is stable: of two equally close names, the smaller model comes first.
    return tuple(sorted((n for n in scores if scores[n] >= _SIMILAR), key=lambda n: -scores[n])[:_SHOWN])


def suggestion(name: str) -> str:
    """Write the end of an error about an unknown name: another source, the closest rows, or the list command."""
    wanted = _plain(name)
    advice = ""
    if _HUB.match(name.strip().lower()):
        advice = f"Other repositories go by address: https://huggingface.co/{wanted}/resolve/main/model.safetensors. "
    elif _MMSEGMENTATION.match(wanted):
        advice = "Files of mmsegmentation are not in the zoo: give --weights with the file or its URL. "
    names = closest_names(name)
    return advice + (f"Did you mean {' or '.join(names)}?" if names else "Run hrnet-models to see all.")


def _plain(name: str) -> str:
    """Return a name in lower case, without prefixes of the hub."""
    return _HUB.sub("", name.strip().lower(), count=1).rstrip("/")


def _variant_meant(name: str) -> str:
    """Return the variant that a publisher's spelling names; else the name itself."""
    if match := _MMSEGMENTATION.match(name):
        return _MMSEGMENTATION_VARIANTS[match[1]]
    plain = name.rpartition("/")[2].replace("-", "_")
    return next((known for known in (plain, plain.removesuffix("_c")) if known in VARIANTS), name)


def _aliases(row: dict[str, str]) -> tuple[str, ...]:
    """Return the publisher's names: in its table, of its file, and of its repository on the hub."""
    names = [name for name in row["published"].split(";") if name]
    names += [row["filename"], _FILE_SUFFIX.sub("", row["filename"])]
    if match := _HUB_FILE.match(row["url"]):
        names += [match[1], match[2]]
    own = f"{row['variant']}.{row['tag']}"
    return tuple(dict.fromkeys(name.lower() for name in names if name.lower() != own))


def _entry(row: dict[str, Any]) -> ZooEntry:
    aliases, input_hw = _aliases(row), (int(row["height"]), int(row["width"]))
    for column in ("published", "height", "width"):
        del row[column]
    for column in ("top1", "top5", "miou"):
        row[column] = float(row[column]) if row[column] else None
    converted = {column: kind(row[column]) for column, kind in _KINDS.items()}
    known = {"url": row["url"] or None, "digest": row["digest"] or None}
    name = f"{row['variant']}.{row['tag']}"
    return ZooEntry(name=name, input_hw=input_hw, aliases=aliases, **(row | converted | known))
