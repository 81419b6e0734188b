"""Segmentation datasets: Cityscapes' folders, and images beside label images of the same names."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.known_classes import CITYSCAPES_CLASSES
from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.evaluation.datasets.dataset import Dataset, Sample, and_more, chosen_split
from hrnet_deploy.evaluation.metrics.segmentation import IGNORE
from hrnet_deploy.imaging.folders import images_below, is_file, list_folder
from hrnet_deploy.imaging.label_image import read_label_values
from hrnet_deploy.limits import IMAGE_FILE_BYTES
from hrnet_deploy.spec import Task
from hrnet_deploy.system.regular_file import read_regular

FRAMES = "leftImg8bit"
LABELS = "gtFine"
_KINDS = ("labelTrainIds", "labelIds")
_PAIRS = (("images", "labels"), ("images", "masks"), ("images", "annotations"), ("img_dir", "ann_dir"))
_UNKNOWN = -1

_EVALUATED_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_TRAIN_IDS: Mapping[int, int] = MappingProxyType(
    dict.fromkeys(range(-1, 34), IGNORE) | {label: train for train, label in enumerate(_EVALUATED_LABEL_IDS)}
)
"""Label id (-1..33) to train id (0..18, or 255 for ignored labels). Source: as CITYSCAPES_CLASSES."""


def find_scenes(root: Path, classes: Sequence[str], *, split: str | None = None) -> Dataset:
    """Find images that each have a label image.

    1. Cityscapes: `leftImg8bit/<split>/<city>/*_leftImg8bit.png` beside `gtFine/.../*_gtFine_labelTrainIds.png` or
       `..._labelIds.png` (train ids are preferred); `root` may be any folder from the root down to a city.
    2. `images` beside `labels`, `masks` or `annotations` (`img_dir` beside `ann_dir`), with or without split folders;
       a label is a PNG of the image's name that holds class indices, and 255 for ignored pixels.

    Without `split`, the folder "val" is used if it exists, else `root` itself.
    """
    frames, labels = _places(root)
    chosen = chosen_split(frames, list_folder(frames)[0], split) or "."
    frames, labels = frames / chosen, labels / chosen
    cityscapes = FRAMES in frames.parts
    images = [path for path in images_below(frames) if not cityscapes or path.stem.endswith(f"_{FRAMES}")]
    if not images:
        what = f"*_{FRAMES}.png" if cityscapes else "images"
        raise ImageError(f"evaluation data must hold images, got no {what} in {frames}. Check the path.")
    # Both kinds may exist. Mixing them would mix up the classes, so one is chosen for the whole dataset.
    kind, paths = _labels(frames, labels, images) if cityscapes else ("", _beside(frames, labels, images))
    if kind == "labelIds" and len(classes) != len(CITYSCAPES_CLASSES):
        raise UsageError(
            f"Cityscapes label ids need a model of {len(CITYSCAPES_CLASSES)} classes, got one of {len(classes)}. Use a"
            " dataset of the model's own classes."
        )
    samples = (
        Sample(image.relative_to(frames).as_posix(), image, label) for image, label in zip(images, paths, strict=True)
    )
    return Dataset(
        root=frames,
        layout=f"Cityscapes {kind}" if cityscapes else "images and label images",
        task=Task.SEGMENTATION,
        classes=len(classes),
        samples=tuple(samples),
        total=len(images),
        label_ids=CITYSCAPES_TRAIN_IDS if kind == "labelIds" else None,
    )


def is_scenes(root: Path) -> bool:
    """Return whether `find_scenes` knows the layout of a folder."""
    try:
        _places(root)
    except UsageError:
        return False
    return True


def read_label(path: Path, classes: int, label_ids: Mapping[int, int] | None = None) -> NDArray[np.uint8]:
    """Read the class of each pixel, uint8 (H, W), 255 where ignored, from a PNG with one channel or a palette.

    Raises:
        MissingFileError: no such file.
        ImageError: no PNG, more than one channel, or a value that is no class.
    """
    values = read_values(path)
    lookup = _lookup(classes, None if label_ids is None else tuple(label_ids.items()))
    mapped: NDArray[np.int16] = lookup[values]
    if mapped.min(initial=0) == _UNKNOWN:
        wrong = int(values[mapped == _UNKNOWN].max())
        raise ImageError(
            f"label image '{path}' must hold ids {_allowed(classes, label_ids)} or {IGNORE}, got {wrong}. Check that"
            f" the set is for this model of {classes} classes, or give label_values or ignore_label."
        )
    return mapped.astype(np.uint8)


def read_values(path: Path) -> NDArray[Any]:
    """Read the values of a label image, uint8 or uint16 (H, W)."""
    content = read_regular(path, "label image", IMAGE_FILE_BYTES, ImageError)
    return read_label_values(content, f"label image '{path}'")


def _allowed(classes: int, label_ids: Mapping[int, int] | None) -> str:
    if label_ids is None:
        return f"0..{classes - 1}"
    values = sorted(value for value in label_ids if 0 <= value != IGNORE)
    consecutive = values == list(range(values[0], values[-1] + 1)) if values else False
    return f"{values[0]}..{values[-1]}" if consecutive else ", ".join(map(str, values[:20]))


@functools.lru_cache(maxsize=4)
def _lookup(classes: int, label_ids: tuple[tuple[int, int], ...] | None) -> NDArray[np.int16]:
    lookup = np.full(1 << 16, _UNKNOWN, np.int16)
    lookup[IGNORE] = IGNORE  # -1, the license plate, is 255 in a PNG
    if label_ids is None:
        lookup[:classes] = np.arange(classes)
    else:
        for value, index in label_ids:
            if value >= 0:
                lookup[value] = index
    return lookup


def _places(root: Path) -> tuple[Path, Path]:
    """Return the folders of the images and of the labels."""
    real = root.resolve()
    for base in (root, real):
        if (base / FRAMES).is_dir():
            return base / FRAMES, base / LABELS
    if FRAMES in real.parts:
        return real, _swapped(real, FRAMES, LABELS)
    for images, labels in _PAIRS:
        if (root / images).is_dir() and (root / labels).is_dir():
            return root / images, root / labels
        if images in real.parts and _swapped(real, images, labels).is_dir():
            return real, _swapped(real, images, labels)
    raise UsageError(
        f"segmentation data must be laid out as {FRAMES}/ beside {LABELS}/ or images/ beside labels/, got neither in"
        f" {root}. Check the path."
    )


def _swapped(path: Path, old: str, new: str) -> Path:
    """Replace the last folder named `old` in a path."""
    at = len(path.parts) - 1 - path.parts[::-1].index(old)
    return Path(*path.parts[:at], new, *path.parts[at + 1 :])


def _labels(frames: Path, labels: Path, images: Sequence[Path]) -> tuple[str, list[Path]]:
    """Return the kind of Cityscapes label that exists for every image, and the labels."""
    found = {kind: _paired(frames, labels, images, f"_{LABELS}_{kind}.png") for kind in _KINDS}
    for kind, (paths, missing) in found.items():
        if not missing:
            return kind, paths
    bare = sorted(set.intersection(*(set(missing) for _, missing in found.values())))
    if not bare:
        counts = " and ".join(f"{len(images) - len(missing)} {kind}" for kind, (_, missing) in found.items())
        raise UsageError(
            f"labels must be of one kind for all {len(images)} images, got {counts} in {labels}. Fetch gtFine again."
        )
    raise UsageError(
        f"each image needs a label (*_{LABELS}_labelTrainIds.png or *_{LABELS}_labelIds.png), got none for"
        f" {and_more([path.name for path in bare])} in {labels}. Fetch gtFine; the test split has no usable labels."
    )


def _beside(frames: Path, labels: Path, images: Sequence[Path]) -> list[Path]:
    paths, missing = _paired(frames, labels, images, ".png")
    if missing:
        raise UsageError(
            f"each image needs a label image of its name, got none for {and_more([p.name for p in missing])} in"
            f" {labels}. Add them, or move the images away."
        )
    return paths


def _paired(frames: Path, labels: Path, images: Sequence[Path], ending: str) -> tuple[list[Path], list[Path]]:
    """Return the label of each image, and the images whose label is missing."""
    stems = (image.relative_to(frames).with_name(image.stem.removesuffix(f"_{FRAMES}") + ending) for image in images)
    paths = [labels / stem for stem in stems]
    return paths, [image for image, path in zip(images, paths, strict=True) if not is_file(path)]
