"""Labeled images: the files and their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hrnet_deploy.errors import MissingFileError, UsageError
from hrnet_deploy.spec import Task

SPLITS = ("val", "validation", "valid", "test")
"""Names of the evaluation split; the first that exists is used."""


@dataclass(frozen=True)
class Sample:
    """One labeled image.

    Attributes:
        name: path below the dataset's root, with forward slashes.
        label: class index (classification), or the label image (segmentation).
    """

    name: str
    path: Path
    label: int | Path


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labeled images in a fixed order.

    Attributes:
        root: the folder that sample names are relative to.
        layout: the layout that was recognized, such as "ImageNet folders".
        total: number of images before a limit.
        label_ids: value in a label image -> class index or 255; None if the values are class indices.
    """

    root: Path
    layout: str
    task: Task
    classes: int
    samples: tuple[Sample, ...]
    total: int
    label_ids: Mapping[int, int] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.samples)

    def limited(self, limit: int | None) -> Dataset:
        """Select at most so many images (None: all), spread evenly over the order, hence over classes and cities.

        Raises:
            UsageError: the limit is not positive.
        """
        if limit is None:
            return self
        if limit < 1:
            raise UsageError(f"limit must be positive, got {limit}. Leave it out for all images.")
        count = min(limit, len(self.samples))
        chosen = tuple(self.samples[index * len(self.samples) // count] for index in range(count))
        return replace(self, samples=chosen)

    def listing_digest(self) -> str:
        """Return the SHA-256 of names, labels, file sizes and times, in hex, without reading the files."""
        digest = hashlib.sha256(f"{self.task.value} {self.classes} {self.layout}".encode())
        for sample in self.samples:
            line = [sample.name, *_stamp(sample.path)]
            line += _stamp(sample.label) if isinstance(sample.label, Path) else [str(sample.label)]
            digest.update("\0".join(line).encode(errors="surrogateescape") + b"\n")
        return digest.hexdigest()


def chosen_split(root: Path, folders: Sequence[str], split: str | None) -> str | None:
    """Return the name of the split among the folders of a root: the given one, else that for evaluation, else None."""
    if split is not None and split not in folders:
        raise UsageError(f"split must be a folder of {root}, got '{split}'. Choose of: {', '.join(folders) or '-'}.")
    return split or next((name for name in SPLITS if name in folders), None)


def and_more(names: Sequence[object]) -> str:
    """Return the first of several names and the number of the others, such as "a.jpg and 3 more"."""
    return str(names[0]) if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _stamp(path: Path) -> list[str]:
    try:
        status = path.stat()
    except OSError as error:
        raise MissingFileError(f"file must exist, got {error.strerror} for {path}. Check the dataset.") from error
    return [path.name, str(status.st_size), str(status.st_mtime_ns)]
