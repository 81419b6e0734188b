"""Labelled images: which files, and what is right about each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.imaging.folders import IMAGE_SUFFIXES
from hrnet_deploy.spec import Task


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes:
        name: path below the data set's root, with forward slashes.
        path: the file.
        label: class index (classification), or the file that holds the label of each pixel (segmentation).
    """

    name: str
    path: Path
    label: int | Path


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled images in a fixed order.

    Attributes:
        root: the folder names are relative to.
        layout: how it was found, such as "ImageNet folders".
        task: what its labels answer.
        classes: number of classes.
        samples: the images.
        total: how many there were before a limit.
        label_ids: value in a label image -> class index or 255; None where the values are class indices.
    """

    root: Path
    layout: str
    task: Task
    classes: int
    samples: tuple[Sample, ...]
    total: int
    label_ids: Mapping[int, int] | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.samples)

    def limited(self, limit: int | None) -> Dataset:
        """Fewer images, spread evenly over the order, hence over classes and cities.

        Args:
            limit: how many; None for all.

        Returns:
            The data set with `limit` samples, or all where there are fewer.

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
        """Digest of names, labels, file sizes and times, found without reading the files.

        Returns:
            SHA-256 in hex; it changes where an image or a label is replaced.

        Raises:
            MissingFileError: a file is gone.
        """
        digest = hashlib.sha256(f"{self.task.value} {self.classes} {self.layout}".encode())
        for sample in self.samples:
            line = [sample.name, *_stamp(sample.path)]
            line += _stamp(sample.label) if isinstance(sample.label, Path) else [str(sample.label)]
            digest.update("\0".join(line).encode(errors="surrogateescape") + b"\n")
        return digest.hexdigest()


def listing(folder: Path) -> tuple[list[str], list[str]]:
    """Names in a folder, hidden ones left out.

    Args:
        folder: where to look.

    Returns:
        Names of its folders and of its image files, both sorted.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            visible = sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith("."))
    except OSError as error:
        raise ImageError(f"folder '{folder}' cannot be read ({error.strerror}). Check its permissions.") from error
    images = [name for name, is_dir in visible if not is_dir and is_image(name)]
    return [name for name, is_dir in visible if is_dir], images


def images_below(folder: Path) -> list[Path]:
    """Every image of a folder and the folders in it, hidden ones left out.

    Args:
        folder: where to look.

    Returns:
        Their paths, sorted.

    Raises:
        ImageError: a folder cannot be read.
    """
    found: list[Path] = []
    seen: set[str] = set()
    left = [folder]
    while left:
        place = left.pop()
        real = os.path.realpath(place)
        if real in seen:  # links may form a circle
            continue
        seen.add(real)
        folders, images = listing(place)
        found += [place / name for name in images]
        left += [place / name for name in folders]
    return sorted(found)


def is_image(name: str) -> bool:
    """Whether a file is an image by its name.

    Args:
        name: file name.

    Returns:
        True for the suffixes the package reads.
    """
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a Path per file of ImageNet takes seconds


def and_more(names: Sequence[object]) -> str:
    """The first of several, and how many follow, for one line of an error.

    Args:
        names: at least one.

    Returns:
        "a.jpg" or "a.jpg and 3 more".
    """
    return str(names[0]) if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _stamp(path: Path) -> list[str]:
    try:
        facts = path.stat()
    except OSError as error:
        raise MissingFileError(f"file must exist, got {error.strerror} for {path}. Check the data set.") from error
    return [path.name, str(facts.st_size), str(facts.st_mtime_ns)]
