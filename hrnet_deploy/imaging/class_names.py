"""Class names from files and well-known lists."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.artifact.known_classes import CITYSCAPES_CLASSES, imagenet_classes
from hrnet_deploy.errors import UsageError
from hrnet_deploy.imaging.class_list import parse_class_list
from hrnet_deploy.limits import CLASSES, TEXT_FILE_BYTES
from hrnet_deploy.spec import Task
from hrnet_deploy.system.text_file import read_text


def default_classes(task: Task, count: int) -> tuple[str, ...]:
    """Choose names where a model has none: ImageNet's for 1000 classes, Cityscapes' for 19, else "class_0" ..."""
    if not 0 < count <= CLASSES:
        raise UsageError(f"number of classes must be 1 to {CLASSES}, got {count}. Check the output of the model.")
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
    text = read_text(Path(path), "class file", "a short text", TEXT_FILE_BYTES)
    if not text.strip():
        raise UsageError(f"class file must hold at least one name, got none in {path}. Write one class name a line.")
    return parse_class_list(text.replace("\r\n", "\n"), f"class file {path}")
