"""The dataset in a folder, and whether it suits a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hrnet_deploy.errors import MissingFileError, UsageError
from hrnet_deploy.evaluation.datasets.cityscapes import find_scenes, is_scenes
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.datasets.imagenet import find_photos
from hrnet_deploy.evaluation.datasets.label_values import with_label_values
from hrnet_deploy.spec import ModelCard, Task


def find_dataset(
    data: str | Path,
    card: ModelCard,
    *,
    labels: str | Path | None = None,
    split: str | None = None,
    label_values: Sequence[int] | None = None,
    ignore_label: int | None = None,
) -> Dataset:
    """Find labeled images for a model.

    Args:
        data: folder, or label file; see `find_photos` and `find_scenes` for the layouts.
        card: the model's card; it determines the task and the classes of the labels.
        labels: label file of an image folder.
        split: subfolder to use if there are several; None for the evaluation split.
        label_values: as in `EvaluationOptions`.
        ignore_label: as in `EvaluationOptions`.

    Returns:
        The dataset.

    Raises:
        MissingFileError: no such file or folder.
        ImageError: no images.
        UsageError: a layout of the other task, missing labels, or labels of other classes.
    """
    if not str(data).strip():  # an unset variable, not the current folder
        raise UsageError("evaluation data must be a folder or a label file, got an empty name. Name it.")
    root = Path(data)
    if not os.path.exists(root):  # noqa: PTH110 - Path.exists raises below an unreadable folder
        raise MissingFileError(f"evaluation data must exist, got {root}. Check the path.")
    if card.task is Task.SEGMENTATION:
        if labels is not None:
            raise UsageError(
                f"a label file is for classification, got {labels} for a segmentation model. Leave it out."
            )
        if root.is_file():
            raise UsageError(f"segmentation data must be a folder, got the file {root}. Name the folder it lies in.")
        return with_label_values(find_scenes(root, card.classes, split=split), card.classes, label_values, ignore_label)
    if label_values is not None or ignore_label is not None:
        raise UsageError("label values must be left out for classification, got some. They are for label images.")
    if root.is_dir() and labels is None and is_scenes(root):
        raise UsageError(
            f"evaluation data must have one class an image for {card.variant}, a classification model, got segmentation"
            f" labels in {root}. Use class folders or a label file."
        )
    return find_photos(root, card.classes, labels=None if labels is None else Path(labels), split=split)
