"""Known class lists, which a card stores by name."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.resources import files

from hrnet_deploy.errors import ArtifactError

CITYSCAPES_CLASSES: tuple[str, ...] = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
"""The 19 evaluated classes by train id. Source: cityscapesScripts, helpers/labels.py."""

_IMAGENET_NAME = "imagenet"
_CITYSCAPES_NAME = "cityscapes"


def imagenet_classes() -> tuple[str, ...]:
    """Return the 1000 ImageNet (ILSVRC 2012) class names by class index, "tench" to "toilet tissue".

    Source: WordNet 3.0, the first lemma of each class; five that clash carry a second lemma or a parenthesis.
    """
    return tuple(name for _, name in _imagenet())


def imagenet_wnids() -> tuple[str, ...]:
    """Return the 1000 ImageNet WordNet ids, such as "n01440764", by class index, which is also their sorted order."""
    return tuple(wnid for wnid, _ in _imagenet())


def pack_classes(classes: Sequence[str]) -> str | tuple[str, ...]:
    """Replace a known list by its name, "imagenet" or "cityscapes", so that a card stays small."""
    names = tuple(classes)
    if names == CITYSCAPES_CLASSES:
        return _CITYSCAPES_NAME
    return _IMAGENET_NAME if names == imagenet_classes() else names


def unpack_classes(packed: str | Sequence[str]) -> tuple[str, ...]:
    """Restore the list from `pack_classes`, also from JSON; ArtifactError for an unknown name."""
    if not isinstance(packed, str):
        return tuple(packed)
    if packed == _IMAGENET_NAME:
        return imagenet_classes()
    if packed == _CITYSCAPES_NAME:
        return CITYSCAPES_CLASSES
    raise ArtifactError(
        f"class list must be 'imagenet', 'cityscapes' or the names, got '{packed:.80}'. Upgrade hrnet-deploy."
    )


@functools.cache
def _imagenet() -> tuple[tuple[str, str], ...]:
    text = files("hrnet_deploy.data").joinpath("imagenet.txt").read_text(encoding="utf-8")
    pairs = (line.split("\t") for line in text.splitlines())
    return tuple((wnid, name) for wnid, name in pairs)
