"""Label files: which class an image has, one line each, in the forms people keep them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hrnet_deploy.artifact.known_classes import imagenet_classes, imagenet_wnids
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.datasets.dataset import is_image
from hrnet_deploy.system.text_file import read_text

_HEADERS = frozenset({"file", "filename", "file_name", "id", "image", "image_id", "imageid", "img", "name", "path"})
_WNID = re.compile(r"n\d{8}")
_LIMIT_BYTES = 1 << 28
_FIRST_OF_VAL = (65, 970, 230, 809, 516)
_DEVKIT_FIRST_OF_VAL = (490, 361, 171, 822, 297)


@dataclass(frozen=True)
class LabelFile:
    """What a label file says.

    Attributes:
        path: the file.
        labels: image as named there -> class index, in the file's order.
    """

    path: Path
    labels: Mapping[str, int]


class ClassNames:
    """Finds the class index a text stands for."""

    def __init__(self, classes: Sequence[str]) -> None:
        """Index the names.

        Args:
            classes: class names by index.
        """
        self.count = len(classes)
        self._by_name = {normalised(name): index for index, name in enumerate(classes)}
        self.is_imagenet = tuple(classes) == imagenet_classes()
        self._by_wnid = {wnid: index for index, wnid in enumerate(imagenet_wnids())} if self.is_imagenet else {}

    def index(self, text: str) -> int | None:
        """The class a label names.

        Args:
            text: a class name, a WordNet id (bounding boxes may follow, as in Kaggle's lists), or an index from 0.

        Returns:
            Its index; None where it names no class, and a number outside the range as it is.
        """
        named = self._by_name.get(normalised(text))
        if named is not None:
            return named
        first = text.split(maxsplit=1)[0] if text.strip() else ""
        if _WNID.fullmatch(first):
            return self._by_wnid.get(first)
        return int(text) if re.fullmatch(r"[+-]?\d{1,9}", text.strip()) else None


def normalised(name: str) -> str:
    """A class name as folders and lists spell it.

    Args:
        name: with any case, and with spaces, underscores or hyphens.

    Returns:
        Lower case with single spaces.
    """
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def read_label_file(path: Path, classes: Sequence[str]) -> LabelFile:
    """Read a list of images and labels.

    Args:
        path: UTF-8 text: `image label` a line, separated by the last space or a tab (ILSVRC, Caffe, PaddleClas,
            mmpretrain), or CSV with or without a header (Kaggle's LOC_val_solution.csv too). A label is an index
            from 0, a WordNet id or a class name.
        classes: class names by index.

    Returns:
        The labels.

    Raises:
        MissingFileError: no such file.
        UsageError: not such a list; a label that is no class; an image named twice; the order of the development kit.
    """
    rows = _rows(path)
    names = ClassNames(classes)
    labels: dict[str, int] = {}
    lines: dict[str, int] = {}
    for number, name, text in rows:
        where = f"label file {path}, line {number},"
        index = names.index(text)
        if index is None:
            known = "an index from 0, a WordNet id or a class name" if names.is_imagenet else "an index or a class name"
            raise UsageError(
                f"{where} must end in {known}, got '{text:.60}'. Use labels of the model's {len(classes)} classes."
            )
        if not 0 <= index < names.count:
            raise UsageError(
                f"{where} must name a class 0..{names.count - 1}, got {index}. Count from 0, and check that the list"
                " is for this model."
            )
        if name in lines:
            raise UsageError(f"{where} must name another image than line {lines[name]}, got '{name}' twice. Keep one.")
        labels[name], lines[name] = index, number
    if names.is_imagenet:
        _check_imagenet_order(path, labels)
    return LabelFile(path, labels)


def _rows(path: Path) -> list[tuple[int, str, str]]:
    """(line number, image, label) of each line that says something."""
    text = read_text(path, "label file", "a text", _LIMIT_BYTES)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    rows: list[tuple[int, str, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = _cells(line)
        if not rows and cells[0].casefold() in _HEADERS:
            continue
        if len(cells) < 2 or not cells[0] or not cells[1]:
            alone = "a number" if line.strip().isdecimal() else f"'{line.strip():.60}'"
            raise UsageError(
                f"label file {path}, line {number}, must hold an image and its label, got only {alone}. Write"
                " 'image label' a line; the development kit's bare ids are in another order and cannot be used."
            )
        rows.append((number, cells[0].replace("\\", "/").removeprefix("./"), cells[1]))
    if not rows:
        raise UsageError(f"label file must name images, got none in {path}. Write 'image label' a line.")
    return rows


def _cells(line: str) -> list[str]:
    text = line.strip()
    if "\t" in text:
        cells = text.split("\t")
    elif _named(text):
        cells = list(_named(text))
    elif "," in text:
        cells = next(csv.reader([text], skipinitialspace=True))
    else:
        cells = text.rsplit(None, 1)
    return [cell.strip() for cell in cells]


def _named(text: str) -> tuple[str, ...]:
    """An image whose name ends in a known suffix, then a space, then a label that may have several words."""
    parts = text.split(" ")
    for index in range(1, len(parts)):
        if is_image(" ".join(parts[:index])):
            return " ".join(parts[:index]), " ".join(parts[index:])
    return ()


def _check_imagenet_order(path: Path, labels: Mapping[str, int]) -> None:
    """The list of ILSVRC's validation set exists in two orders of the classes; only the sorted one is the nets'.

    Source: caffe_ilsvrc12/val.txt; ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt.
    """
    by_stem = {PurePosixPath(name).stem: label for name, label in labels.items()}
    found = tuple(by_stem.get(f"ILSVRC2012_val_{number:08d}") for number in range(1, 6))
    given = [(have, want) for have, want in zip(found, _FIRST_OF_VAL, strict=True) if have is not None]
    wrong = [pair for pair in given if pair[0] != pair[1]]
    if not wrong:
        return
    if all(have == want for have, want in zip(found, _DEVKIT_FIRST_OF_VAL, strict=True)):
        got = "the development kit's ids, which are in another order"
    elif all(have == want + 1 for have, want in given):
        got = "labels counted from 1"
    else:
        have, want = wrong[0]
        got = f"{have} for number {1 + _FIRST_OF_VAL.index(want)}, which is {want}"
    raise UsageError(
        f"label file {path} must list ILSVRC2012's validation images by sorted WordNet id (65, 970, 230, ...), got"
        f" {got}. Use Caffe's val.txt."
    )
