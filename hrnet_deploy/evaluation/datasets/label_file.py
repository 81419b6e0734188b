"""Label files: the class of each image, one line each, in the common formats."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from hrnet_deploy.artifact.known_classes import imagenet_classes, imagenet_wnids
from hrnet_deploy.errors import UsageError
from hrnet_deploy.imaging.folders import is_image
from hrnet_deploy.limits import LIST_FILE_BYTES
from hrnet_deploy.system.text_file import read_text, split_lines

_HEADERS = frozenset({"file", "filename", "file_name", "id", "image", "image_id", "imageid", "img", "name", "path"})
_WNID = re.compile(r"n\d{8}")
_FIRST_OF_VAL = (65, 970, 230, 809, 516)
_DEVKIT_FIRST_OF_VAL = (490, 361, 171, 822, 297)


def normalize_name(name: str) -> str:
    """Return a class name in lower case, with single spaces instead of underscores and hyphens."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def read_label_file(path: Path, classes: Sequence[str]) -> dict[str, int]:
    """Read a list of images and labels: image name -> class index, in the file's order.

    The file is UTF-8 text with lines of `image label`, separated by the last space or a tab (ILSVRC, Caffe, PaddleClas,
    mmpretrain), or CSV with or without a header (Kaggle's LOC_val_solution.csv too). A label is an index from 0, a
    WordNet id or a class name.
    """
    rows = _rows(path)
    indices = {normalize_name(name): index for index, name in enumerate(classes)}
    is_imagenet = tuple(classes) == imagenet_classes()
    wnids = {wnid: index for index, wnid in enumerate(imagenet_wnids())} if is_imagenet else {}
    labels: dict[str, int] = {}
    lines: dict[str, int] = {}
    for number, name, text in rows:
        where = f"label file {path}, line {number},"
        index = _class_index(text, indices, wnids)
        if index is None:
            known = "an index from 0, a WordNet id or a class name" if is_imagenet else "an index or a class name"
            raise UsageError(
                f"{where} must end in {known}, got '{text:.60}'. Use labels of the model's {len(classes)} classes."
            )
        if not 0 <= index < len(classes):
            raise UsageError(
                f"{where} must name a class 0..{len(classes) - 1}, got {index}. Count from 0, and check that the list"
                " is for this model."
            )
        if name in lines:
            raise UsageError(f"{where} must name another image than line {lines[name]}, got '{name}' twice. Keep one.")
        labels[name], lines[name] = index, number
    if is_imagenet:
        _check_imagenet_order(path, labels)
    return labels


def _class_index(text: str, indices: Mapping[str, int], wnids: Mapping[str, int]) -> int | None:
    """Return the index of a class name, a WordNet id (boxes may follow, as in Kaggle's lists) or a number."""
    named = indices.get(normalize_name(text))
    if named is not None:
        return named
    first = text.split(maxsplit=1)[0] if text.strip() else ""
    if _WNID.fullmatch(first):
        return wnids.get(first)
    return int(text) if re.fullmatch(r"[+-]?\d{1,9}", text.strip()) else None


def _rows(path: Path) -> list[tuple[int, str, str]]:
    """Return (line number, image, label) of each line with content."""
    text = read_text(path, "label file", "a text", LIST_FILE_BYTES)
    lines = split_lines(text.replace("\r\n", "\n").replace("\r", "\n"), f"label file {path}")
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
    spaces = (at for at, sign in enumerate(text) if sign == " ")
    after_image = next((at for at in spaces if is_image(text[:at])), None)
    if "\t" in text:
        cells = text.split("\t")
    elif after_image is not None:  # a name with a known suffix; the label may have several words
        cells = [text[:after_image], text[after_image:]]
    elif "," in text:
        cells = next(csv.reader([text], skipinitialspace=True))  # a line is shorter than any limit of csv
    else:
        cells = text.rsplit(None, 1)
    return [cell.strip() for cell in cells]


def _check_imagenet_order(path: Path, labels: Mapping[str, int]) -> None:
    """Refuse the ILSVRC validation list in the development kit's class order; models use the sorted order."""
    # Source: caffe_ilsvrc12/val.txt; ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt.
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
