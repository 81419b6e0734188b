"""Class names and the colours masks are drawn in."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.class_list import names_in, parse_class_list
from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.spec import ModelCard, Task
from hrnet_deploy.text_file import read_text

CITYSCAPES_CLASSES: tuple[str, ...] = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
"""The 19 evaluated classes by train id. Source: cityscapesScripts, helpers/labels.py."""

CITYSCAPES_PALETTE: NDArray[np.uint8] = np.array(
    [
        *((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153)),
        *((250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60)),
        *((255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)),
    ],
    dtype=np.uint8,
)
"""`uint8 (19, 3)` RGB by train id, read-only. Source: as CITYSCAPES_CLASSES."""
CITYSCAPES_PALETTE.setflags(write=False)

_EVALUATED_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_IGNORED = 255

CITYSCAPES_TRAIN_IDS: Mapping[int, int] = MappingProxyType(
    dict.fromkeys(range(-1, 34), _IGNORED) | {label: train for train, label in enumerate(_EVALUATED_LABEL_IDS)}
)
"""Label id (-1..33) to train id (0..18, or 255 for what is not evaluated). Source: as CITYSCAPES_CLASSES."""

_IMAGENET_NAME = "imagenet"
_CITYSCAPES_NAME = "cityscapes"
_NEARLY_ALL = 0.95
"""Share of ImageNet's names that its lists have in common; they differ in a few, such as its two cranes."""
_FILE_LIMIT_BYTES = 1 << 22


def imagenet_classes() -> tuple[str, ...]:
    """The 1000 ImageNet (ILSVRC 2012) class names by class index.

    Returns:
        Unique short names: "tench" first, "toilet tissue" last.

    Source: WordNet 3.0, the first lemma of each class; five that clash carry a second lemma or a parenthesis.
    """
    return tuple(name for _, name in _imagenet())


def imagenet_wnids() -> tuple[str, ...]:
    """The 1000 ImageNet WordNet ids by class index, which is also their sorted order.

    Returns:
        Ids such as "n01440764", as the folders of the data set are named.
    """
    return tuple(wnid for wnid, _ in _imagenet())


def default_classes(task: Task, count: int) -> tuple[str, ...]:
    """Names for a net that brings none.

    Args:
        task: what the net answers.
        count: number of classes.

    Returns:
        ImageNet's names for a classifier of 1000, Cityscapes' for a segmenter of 19, else "class_0", "class_1", ...

    Raises:
        UsageError: count is not positive.
    """
    if count < 1:
        raise UsageError(f"number of classes must be positive, got {count}. Give --num-classes or --classes.")
    if task is Task.CLASSIFICATION and count == 1000:
        return imagenet_classes()
    if task is Task.SEGMENTATION and count == len(CITYSCAPES_CLASSES):
        return CITYSCAPES_CLASSES
    return tuple(f"class_{index}" for index in range(count))


def palette(classes: Sequence[str]) -> NDArray[np.uint8]:
    """One colour a class, the same at every call.

    Args:
        classes: class names by index.

    Returns:
        `uint8 (n, 3)` RGB: Cityscapes' own colours for its classes; else well-separated ones, never black or white,
        all different for up to 255 classes and more. The first colours do not depend on how many follow.
    """
    if tuple(classes) == CITYSCAPES_CLASSES:
        return CITYSCAPES_PALETTE.copy()
    return np.resize(_separated_colours(min(len(classes), 4000)), (len(classes), 3))


def colours_of(card: ModelCard) -> NDArray[np.uint8]:
    """The colours of a net's classes.

    Args:
        card: of the net.

    Returns:
        `uint8 (n, 3)` RGB: those the card names, else those of `palette`.
    """
    return palette(card.classes) if card.palette is None else np.array(card.palette, np.uint8)


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Class names from a text file.

    Args:
        path: UTF-8 text: one name a line by class index, with or without its number or WordNet id; a table with a
            header; or JSON (a list, or numbers and names). Blank lines at the end are ignored.

    Returns:
        The names; ImageNet's short ones for its WordNet ids and its long names.

    Raises:
        MissingFileError: no such file.
        UsageError: unreadable, not text, empty, numbers with gaps, an over-long or blank line, or a name given twice.
    """
    return parse_class_list(_text(Path(path)), f"class file {path}", _imagenets)


def classes_in(value: object, origin: str) -> tuple[str, ...]:
    """Class names that a configuration or a training file holds.

    Args:
        value: as for `class_list.names_in`.
        origin: what holds it, for errors.

    Returns:
        The names; ImageNet's short ones for its WordNet ids and its long names.

    Raises:
        UsageError: as for `class_list.names_in`.
    """
    return names_in(value, origin, _imagenets)


def _imagenets(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """ImageNet's names, for its WordNet ids or for its names in the long form, such as "tench, Tinca tinca"."""
    known = dict(_imagenet())
    if names and known.keys() >= set(names):
        return tuple(known[name] for name in names)
    if len(names) != len(known):
        return None
    first = sum(name.split(",", 1)[0] == own for name, own in zip(names, known.values(), strict=True))
    return imagenet_classes() if first >= _NEARLY_ALL * len(names) else None


def pack_classes(classes: Sequence[str]) -> str | tuple[str, ...]:
    """Shorten a well-known list to its name, so that a card stays small.

    Args:
        classes: class names by index.

    Returns:
        "imagenet", "cityscapes", or the list itself.
    """
    names = tuple(classes)
    if names == CITYSCAPES_CLASSES:
        return _CITYSCAPES_NAME
    return _IMAGENET_NAME if names == imagenet_classes() else names


def unpack_classes(packed: str | Sequence[str]) -> tuple[str, ...]:
    """The list `pack_classes` was given.

    Args:
        packed: what `pack_classes` returned, or the same read back from JSON.

    Returns:
        Class names by index.

    Raises:
        ArtifactError: the name of a list this version does not know.
    """
    if not isinstance(packed, str):
        return tuple(packed)
    if packed == _IMAGENET_NAME:
        return imagenet_classes()
    if packed == _CITYSCAPES_NAME:
        return CITYSCAPES_CLASSES
    raise ArtifactError(
        f"class list must be 'imagenet', 'cityscapes' or the names, got '{packed}'. Upgrade hrnet-deploy."
    )


@functools.cache
def _imagenet() -> tuple[tuple[str, str], ...]:
    text = files("hrnet_deploy.data").joinpath("imagenet.txt").read_text(encoding="utf-8")
    pairs = (line.split("\t") for line in text.splitlines())
    return tuple((wnid, name) for wnid, name in pairs)


def _text(path: Path) -> str:
    """The file's text with plain newlines."""
    text = read_text(path, "class file", "a short text", _FILE_LIMIT_BYTES)
    if not text.strip():
        raise UsageError(f"class file must hold at least one name, got none in {path}. Write one class name a line.")
    return text.replace("\r\n", "\n")


@functools.lru_cache(maxsize=8)
def _separated_colours(count: int) -> NDArray[np.uint8]:
    """Greedy farthest points on an RGB grid, measured in CIELAB, `uint8 (count, 3)`.

    Black and white count as taken, so that no class looks like either.
    """
    levels = np.linspace(0, 255, 16)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _lab(grid)
    nearest = np.minimum(np.linalg.norm(lab - lab[0], axis=1), np.linalg.norm(lab - lab[-1], axis=1))
    chosen = np.empty(count, dtype=np.intp)
    for index in range(count):
        chosen[index] = nearest.argmax()
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[chosen[index]], axis=1))
    return grid[chosen].astype(np.uint8)


def _lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """SRGB 0..255 `(n, 3)` to CIELAB under D65. Source: IEC 61966-2-1 and CIE 15:2004."""
    scaled = rgb / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    lightness = 116 * root[:, 1] - 16
    return np.stack([lightness, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], axis=1)
