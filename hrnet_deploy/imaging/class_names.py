"""Class names from files, configurations and well-known lists."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.artifact.known_classes import CITYSCAPES_CLASSES, imagenet_classes, imagenet_wnids
from hrnet_deploy.errors import UsageError
from hrnet_deploy.imaging.class_list import names_in, parse_class_list
from hrnet_deploy.spec import Task
from hrnet_deploy.system.text_file import read_text

_NEARLY_ALL = 0.95
"""Share of names that all lists of ImageNet have in common; they differ in a few, such as the two cranes."""
_FILE_LIMIT_BYTES = 1 << 22


def default_classes(task: Task, count: int) -> tuple[str, ...]:
    """Choose names where a model has none: ImageNet's for 1000 classes, Cityscapes' for 19, else "class_0" ..."""
    if count < 1:
        raise UsageError(f"number of classes must be positive, got {count}. Give --num-classes or --classes.")
    if task is Task.CLASSIFICATION and count == 1000:
        return imagenet_classes()
    if task is Task.SEGMENTATION and count == len(CITYSCAPES_CLASSES):
        return CITYSCAPES_CLASSES
    return tuple(f"class_{index}" for index in range(count))


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Read class names from a text file, at most 4 MiB.

    The UTF-8 text has one name a line by class index, with or without its number or WordNet id; or it is a table with a
    header, or JSON (a list, or numbers and names). ImageNet's WordNet ids and long names become its short names.
    MissingFileError, or UsageError where it cannot be used.
    """
    return parse_class_list(_text(Path(path)), f"class file {path}", _imagenet_names)


def classes_in(value: object, origin: str) -> tuple[str, ...]:
    """Find class names in a value of a configuration or a training file, as `class_list.names_in` does."""
    return names_in(value, origin, _imagenet_names)


def _imagenet_names(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return ImageNet's short names for its WordNet ids or its long names, such as "tench, Tinca tinca"."""
    known = dict(zip(imagenet_wnids(), imagenet_classes(), strict=True))
    if names and known.keys() >= set(names):
        return tuple(known[name] for name in names)
    if len(names) != len(known):
        return None
    first = sum(name.split(",", 1)[0] == own for name, own in zip(names, known.values(), strict=True))
    return imagenet_classes() if first >= _NEARLY_ALL * len(names) else None


def _text(path: Path) -> str:
    """Read the text of a file, with plain newlines."""
    text = read_text(path, "class file", "a short text", _FILE_LIMIT_BYTES)
    if not text.strip():
        raise UsageError(f"class file must hold at least one name, got none in {path}. Write one class name a line.")
    return text.replace("\r\n", "\n")
