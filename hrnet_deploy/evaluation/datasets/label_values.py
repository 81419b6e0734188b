"""The values in label images that are no class indices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.datasets.cityscapes import read_values
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.metrics.segmentation import IGNORE

_CHECKED_LABELS = 64
"""Label images that are read to check a dataset of two classes."""
_LARGEST = 65535
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


def parse_label_values(text: str | None) -> tuple[int, ...] | None:
    """Read numbers and ranges such as "0,255" or "1-150,200"; None for None.

    Raises:
        UsageError: no such list.
    """
    if text is None:
        return None
    values: list[int] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None or int(found[2] or found[1]) > _LARGEST:
            raise UsageError(f"label values must be numbers of 0..{_LARGEST}, got '{text:.60}'. Write 0,255 or 1-150.")
        values += range(int(found[1]), int(found[2] or found[1]) + 1)
        if len(values) > _LARGEST + 1:
            raise UsageError(f"label values must be different numbers, got '{text:.60}'. Name each once.")
    return tuple(values)


def with_label_values(
    dataset: Dataset, classes: Sequence[str], label_values: Sequence[int] | None, ignore_label: int | None
) -> Dataset:
    """Return a dataset with `label_ids` from the value of each class and the ignored value, if any is given."""
    if label_values is None and ignore_label is None:
        _check_label_values(dataset, classes)
        return dataset
    if dataset.label_ids is not None:
        raise UsageError(f"label values must be left out for {dataset.layout}, got some. Its ids are known.")
    values = tuple(range(len(classes))) if label_values is None else tuple(label_values)
    if len(values) != len(classes):
        raise UsageError(
            f"label values must be one for each of the {len(classes)} classes, got {len(values)}. Name them in the"
            f" order of the classes ({', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''})."
        )
    given = values if ignore_label is None else (*values, ignore_label)
    if len(set(given)) != len(given) or not all(0 <= value <= _LARGEST for value in given):
        raise UsageError(f"label values must be different numbers of 0..{_LARGEST}, got {given}. Correct them.")
    ids = {value: index for index, value in enumerate(values)}
    if ignore_label is not None:
        ids[ignore_label] = IGNORE
    ignored = "" if ignore_label is None else f", {ignore_label} ignored"
    shown = ",".join(map(str, values[:8])) + (",..." if len(values) > 8 else "")
    return replace(dataset, label_ids=ids, layout=f"{dataset.layout} (values {shown}{ignored})")


def _check_label_values(dataset: Dataset, classes: Sequence[str]) -> None:
    """Refuse label images of two classes that hold only 0 and 255: 255 would be ignored."""
    if len(classes) != 2 or dataset.label_ids is not None:
        return
    ignored = False
    for sample in dataset.limited(min(_CHECKED_LABELS, len(dataset))).samples:
        if isinstance(sample.label, int):
            return
        values = read_values(sample.label)
        if np.any((values > 0) & (values < IGNORE)):
            return
        ignored = ignored or bool(np.any(values == IGNORE))
    if ignored:
        raise UsageError(
            f"label images of two classes must hold 0 and 1, got 0 and {IGNORE} in {dataset.root}, where {IGNORE} means"
            f" ignored. If {IGNORE} is '{classes[1]}', give hrnet-report --label-values 0,{IGNORE} (label_values in"
            f" Python) or save it as 1; if it is ignored, give 0,1."
        )
