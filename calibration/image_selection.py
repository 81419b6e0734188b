"""Selection of calibration images, and the check that evaluation uses others."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.errors import MissingFileError, UsageError
from hrnet_deploy.imaging.image_files import read_file

SEED = 20
"""Default seed of `choose`."""


@dataclass(frozen=True, order=True)
class CalibrationImage(os.PathLike[str]):
    """One file; usable wherever a path is.

    Attributes:
        group: class, city, or folder below the given one, over which the selection is balanced; "" without.
    """

    group: str
    path: Path

    def __fspath__(self) -> str:
        return str(self.path)


AnyPath = str | os.PathLike[str]
"""A file name, a path or a `CalibrationImage`."""


def choose(images: Iterable[CalibrationImage], count: int, seed: int = SEED) -> tuple[CalibrationImage, ...]:
    """Choose images evenly over the groups: one of each, then another of each, up to the count.

    The choice depends only on the names of groups and files, so it is the same on every machine. A smaller count gives
    the beginning of a larger one's choice.

    Args:
        images: in any order.
        count: number of images, positive.
        seed: another seed gives another choice.

    Returns:
        `count` images, or all where there are fewer.
    """
    ranked: list[tuple[int, bytes, CalibrationImage]] = []
    for group, members in itertools.groupby(sorted(images), key=lambda image: image.group):
        drawn = sorted(members, key=lambda image: _draw(seed, group, image.path.name))
        ranked += [(place, _draw(seed, group), image) for place, image in enumerate(drawn[:count])]
    return tuple(image for _, _, image in sorted(ranked)[:count])


def content_hashes(images: Iterable[AnyPath]) -> tuple[str, ...]:
    """Compute the SHA-256 of each file's content, in hex; MissingFileError or ImageError on one that is unreadable."""
    return tuple(_content_hash(image) for image in images)


def image_list_hash(hashes: Iterable[str]) -> str:
    """Compute one SHA-256 for a list of images, from the `content_hashes` in order; paths do not count."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def check_disjoint(calibration: Iterable[AnyPath], evaluation: Iterable[AnyPath], *, allow: bool = False) -> None:
    """Refuse evaluation images that calibration used, by content.

    Args:
        calibration: the calibration images.
        evaluation: the evaluation images; a file is read only if a calibration image has the same size.
        allow: skip the check.

    Raises:
        UsageError: two files have the same content; the message names the first such evaluation file.
        MissingFileError: a file is gone.
        ImageError: a file cannot be read.
    """
    if allow:
        return
    by_size: dict[int, list[AnyPath]] = {}
    for image in calibration:
        by_size.setdefault(_size_bytes(image), []).append(image)
    known: dict[int, dict[str, AnyPath]] = {}
    for image in evaluation:
        size = _size_bytes(image)
        if size not in by_size:
            continue
        if size not in known:
            known[size] = {_content_hash(other): other for other in reversed(by_size[size])}
        twin = known[size].get(_content_hash(image))
        if twin is not None:
            raise UsageError(
                f"calibration images must not be evaluation images too, got {os.fspath(twin)} ="
                f" {os.fspath(image)}. Use other images, or allow the overlap (allow_overlap=True, --allow-overlap)."
            )


def _draw(seed: int, *names: str) -> bytes:
    # A digest instead of a random generator: NumPy's streams may change from version to version.
    return hashlib.sha256("\0".join((str(seed), *names)).encode(errors="surrogateescape")).digest()


def _content_hash(image: AnyPath) -> str:
    return hashlib.sha256(read_file(Path(image))).hexdigest()


def _size_bytes(image: AnyPath) -> int:
    try:
        return os.stat(image).st_size  # noqa: PTH116 - any kind of path
    except OSError as error:
        raise MissingFileError(
            f"image '{os.fspath(image)}' must exist, got {error.strerror}. Check the path."
        ) from error
