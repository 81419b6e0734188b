"""Class names from files, configurations and lists that are known."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.artifact.known_classes import CITYSCAPES_CLASSES, imagenet_classes, imagenet_wnids
from hrnet_deploy.errors import UsageError
from hrnet_deploy.imaging.class_list import names_in, parse_class_list
from hrnet_deploy.spec import Task
from hrnet_deploy.system.text_file import read_text

_NEARLY_ALL = 0.95
"""Share of ImageNet's names that its lists have in common; they differ in a few, such as its two cranes."""
_FILE_LIMIT_BYTES = 1 << 22


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
    known = dict(zip(imagenet_wnids(), imagenet_classes(), strict=True))
    if names and known.keys() >= set(names):
        return tuple(known[name] for name in names)
    if len(names) != len(known):
        return None
    first = sum(name.split(",", 1)[0] == own for name, own in zip(names, known.values(), strict=True))
    return imagenet_classes() if first >= _NEARLY_ALL * len(names) else None


def _text(path: Path) -> str:
    """The file's text with plain newlines."""
    text = read_text(path, "class file", "a short text", _FILE_LIMIT_BYTES)
    if not text.strip():
        raise UsageError(f"class file must hold at least one name, got none in {path}. Write one class name a line.")
    return text.replace("\r\n", "\n")
