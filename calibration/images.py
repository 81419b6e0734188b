"""Calibration images: which files of a folder, in which order, and as network input."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact import sha256_file
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.preprocess import Preprocessor
from hrnet_deploy.sources import IMAGE_SUFFIXES, OnError, read_frame
from hrnet_deploy.spec import Preprocessing, Resize

COUNT = 512
"""Default number of calibration images."""
SEED = 20
"""Default seed of `choose`."""

# With the year or size some data sets add, such as val2017 or val_256.
_TRAINING = re.compile(r"(calib|calibration|train|training)[-_]?\d*")
_HELD_OUT = re.compile(r"((.+[-_])?(val|valid|validation)|test|testing|eval|evaluation)[-_]?\d*")
_WNID = re.compile(r"n\d{8}")
_FRAMES = "leftImg8bit"
_LABEL_FILE = re.compile(r".*_(gtFine|gtCoarse|disparity)(_.*)?\.[^.]+")
_LABEL_FOLDERS = frozenset({"annotations", "ann_dir", "labels", "masks", "segmentationclass", "segmentationobject"})
_IMAGE_FOLDERS = frozenset({"images", "img_dir", "jpegimages"})
_ALLOW = "Name the training images, or allow it with allow_val=True (--allow-val)."


@dataclass(frozen=True, order=True)
class CalibrationImage(os.PathLike[str]):
    """One file; usable wherever a path is.

    Attributes:
        group: what the choice is balanced over: the class, the city, or the folder below the given one; "" without.
        path: the file.
    """

    group: str
    path: Path

    def __fspath__(self) -> str:
        return str(self.path)


AnyPath = str | os.PathLike[str]
"""A file by name, as a path or as a `CalibrationImage`."""


def find_images(folder: str | Path, *, allow_val: bool = False) -> tuple[CalibrationImage, ...]:
    """Find the images of a folder that may be calibrated on.

    1. Of a folder with splits the one named calib is taken, else the one named train, at any depth.
    2. Splits for evaluation (val, test) are left out where they lie beside other folders.
    3. Cityscapes: below `leftImg8bit` only frames count. Label images never do, there or beside `images`.
    4. Otherwise every image counts, recursively; hidden files and folders are left out.

    Args:
        folder: plain, ImageNet's (`<split>/<wnid>/*.JPEG`, or any part of it) or Cityscapes'
            (`leftImg8bit/<split>/<city>/*_leftImg8bit.png`).
        allow_val: take a split for evaluation where the folder is one or holds nothing else.

    Returns:
        The images in order of their paths, whatever the order on disk.

    Raises:
        MissingFileError: no such folder.
        UsageError: a file, or only images for evaluation.
        ImageError: no images, or a folder below cannot be read.
    """
    root = Path(folder)
    if not os.path.exists(root):  # noqa: PTH110 - Path.exists raises below an unreadable folder
        raise MissingFileError(f"calibration folder must exist, got {root}. Check the path.")
    if not root.is_dir():
        raise UsageError(f"calibration data must be a folder, got the file {root}. Name the folder it lies in.")
    # A link called train may lead to val; "." and ".." have their names only once they are resolved.
    places = (Path(os.path.abspath(root)), root.resolve())  # noqa: PTH100 - Path.absolute keeps ".."
    held_out = next((place for place in places if _is_held_out(place)), None)
    if held_out is not None and not allow_val:
        raise UsageError(f"calibration images must not be a split for evaluation, got {held_out}. {_ALLOW}")
    search = _Search(allow_val=allow_val)
    within_split = held_out is not None or any(_TRAINING.fullmatch(p.name.lower()) for p in places)
    search.walk(root, root, may_split=not within_split, frames_only=_FRAMES in places[1].parts)
    if not search.found and search.left_out:
        raise UsageError(f"calibration images must not be a split for evaluation, got only {search.left_out}. {_ALLOW}")
    if not search.found:
        raise ImageError(
            f"calibration folder must hold images, got none in {root}. Supported: {' '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return tuple(search.found)


def choose(images: Iterable[CalibrationImage], count: int = COUNT, seed: int = SEED) -> tuple[CalibrationImage, ...]:
    """Choose images evenly over the groups: one of each, then another of each, until there are enough.

    The choice depends on the names of groups and files alone, so it is the same on every machine and wherever the
    folder lies; a smaller count gives the beginning of a larger one's choice.

    Args:
        images: to choose from, in any order.
        count: how many.
        seed: another one gives another choice.

    Returns:
        `count` images, or all where there are fewer.

    Raises:
        UsageError: count is not positive.
    """
    if count < 1:
        raise UsageError(f"number of calibration images must be positive, got {count}. Use {COUNT}.")
    groups: dict[str, list[CalibrationImage]] = {}
    for image in sorted(images):
        groups.setdefault(image.group, []).append(image)
    ranked: list[tuple[int, bytes, CalibrationImage]] = []
    for group, members in groups.items():
        members.sort(key=lambda image: _draw(seed, image.group, image.path.name))
        ranked += [(place, _draw(seed, group), image) for place, image in enumerate(members[:count])]
    return tuple(image for _, _, image in sorted(ranked)[:count])


def content_hashes(images: Iterable[AnyPath]) -> tuple[str, ...]:
    """Digest of each file's content.

    Args:
        images: the files.

    Returns:
        SHA-256 in hex, one per file, in order.

    Raises:
        MissingFileError: a file is gone.
        ImageError: a file cannot be read.
    """
    return tuple(_content_hash(image) for image in images)


def image_list_hash(hashes: Iterable[str]) -> str:
    """One digest for a list of images; it depends on their contents and order, not on where they lie.

    Args:
        hashes: what `content_hashes` returned.

    Returns:
        SHA-256 in hex.
    """
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def check_disjoint(calibration: Iterable[AnyPath], evaluation: Iterable[AnyPath], *, allow: bool = False) -> None:
    """Refuse to measure on what was calibrated on.

    Args:
        calibration: files that ranges are found on.
        evaluation: files that accuracy is measured on. Only those as long as one of the others are read.
        allow: do not check.

    Raises:
        UsageError: two files have the same content; the first evaluation file that clashes is named.
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
                f" {os.fspath(image)}. Use other images, or allow the overlap (allow_val=True, --allow-val)."
            )


class Batches:
    """Network input made from image files, as often as it is asked for; only one batch is in memory.

    Attributes:
        paths: the files, in order.
        batch: images per array, the last one may have fewer; 1 where every image has its own size.
    """

    def __init__(
        self, paths: Iterable[AnyPath], preprocessing: Preprocessing, batch: int, on_error: OnError | None = None
    ) -> None:
        """Check what is given; no file is read yet.

        Args:
            paths: image files.
            preprocessing: the card's own.
            batch: images per array.
            on_error: called with the name of each file that cannot be used, which is then skipped; None to raise.

        Raises:
            UsageError: no files, or a batch size that is not positive.
        """
        self.paths: Sequence[Path] = tuple(Path(path) for path in paths)
        if not self.paths:
            raise UsageError("calibration needs at least one image, got none. Check the folder or the list.")
        if batch < 1:
            raise UsageError(f"calibration batch must be positive, got {batch}. Use 1 or more.")
        sizes_vary = preprocessing.size_hw is None or preprocessing.resize is Resize.LONG_SIDE
        self.batch = 1 if sizes_vary else batch
        self._preprocess = Preprocessor(preprocessing)
        self._on_error = on_error

    def __len__(self) -> int:
        """Number of arrays; fewer come where files are skipped."""
        return math.ceil(len(self.paths) / self.batch)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """As `from_index(0)`."""
        return self.from_index(0)

    def from_index(self, start: int) -> Iterator[NDArray[np.float32]]:
        """The arrays from that index on, the same at every call.

        Args:
            start: arrays to leave out.

        Yields:
            float32 (n, 3, h, w), a new array each, n at most `batch`.

        Raises:
            ImageError: a file cannot be decoded or has a size that does not fit, its name first; or none can be used.
            MissingFileError: a file is gone.
            UsageError: start is negative.
        """
        if start < 0:
            raise UsageError(f"first batch must not be negative, got {start}. Use 0 for all.")
        # Which images a later array holds depends on those skipped before it, so they are looked for again.
        first = 0 if self._on_error else start * self.batch
        pending: list[NDArray[np.float32]] = []
        index = first // self.batch
        for path in self.paths[first:]:
            planes = self._planes(path)
            if planes is None:
                continue
            pending.append(planes)
            if len(pending) == self.batch:
                if index >= start:
                    yield np.stack(pending)
                index += 1
                pending = []
        if pending and index >= start:
            yield np.stack(pending)
        if not pending and index == 0 and first == 0:
            raise ImageError(
                f"calibration needs an image that can be used, got {len(self.paths)} that cannot. Check the files."
            )

    def _planes(self, path: Path) -> NDArray[np.float32] | None:
        try:
            frame = read_frame(path)
            try:
                return self._preprocess(frame.image)
            except ImageError as error:  # of the size; it does not know the file
                raise ImageError(f"{path}: {error}") from error
        except (ImageError, MissingFileError) as error:
            if self._on_error is None:
                raise
            self._on_error(str(path), error if isinstance(error, ImageError) else ImageError(str(error)))
            return None


@dataclass
class _Search:
    """A walk through folders and what it has met."""

    allow_val: bool
    found: list[CalibrationImage] = dataclasses.field(default_factory=list)
    left_out: Path | None = None
    _seen: set[str] = dataclasses.field(default_factory=set)

    def walk(self, base: Path, folder: Path, *, may_split: bool, frames_only: bool) -> None:
        """Collect below `folder`; groups are named from `base`."""
        real = os.path.realpath(folder)
        if real in self._seen:  # links may form a circle
            return
        self._seen.add(real)
        folders, files = _listing(folder)
        if _FRAMES in folders:
            self.walk(folder / _FRAMES, folder / _FRAMES, may_split=True, frames_only=True)
            return
        split = self._training_split(folder, folders) if may_split else None
        if split is not None:
            self.walk(folder / split, folder / split, may_split=False, frames_only=frames_only)
            return
        group = "" if folder == base else folder.relative_to(base).as_posix()
        self.found += [CalibrationImage(group, folder / n) for n in files if _counts(n, frames_only=frames_only)]
        for name in _without_labels(folders):
            if may_split and not self.allow_val and _HELD_OUT.fullmatch(name.lower()):
                self.left_out = self.left_out or folder / name
            else:
                self.walk(base, folder / name, may_split=may_split, frames_only=frames_only)

    def _training_split(self, folder: Path, names: Sequence[str]) -> str | None:
        """The split to take, if these are splits at all: `train` may be a class beside `bus` and `car`."""
        training = [name for name in names if _TRAINING.fullmatch(name.lower())]
        others = [name for name in _without_labels(names) if name not in training]
        is_split = any(_HELD_OUT.fullmatch(name.lower()) for name in others)
        if not training or not (is_split or not any(_holds_images(folder / name) for name in others)):
            return None
        return min(training, key=lambda name: (not name.lower().startswith("calib"), name))


def _is_held_out(folder: Path) -> bool:
    """Whether a folder is a split for evaluation, or one class or city of it."""
    if _HELD_OUT.fullmatch(folder.name.lower()):
        return True
    parent, above = folder.parent, folder.parent.parent
    if not _HELD_OUT.fullmatch(parent.name.lower()):
        return False
    if _WNID.fullmatch(folder.name) or above.name == _FRAMES:
        return True
    try:
        return any(_TRAINING.fullmatch(name.lower()) for name in _listing(above)[0])
    except ImageError:  # a folder above may be closed to us; the images are not there
        return False


def _listing(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files in a folder, sorted."""
    try:
        with os.scandir(folder) as entries:
            visible = sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith("."))
    except OSError as error:
        raise ImageError(f"folder '{folder}' cannot be read ({error.strerror}). Check its permissions.") from error
    return [name for name, is_dir in visible if is_dir], [name for name, is_dir in visible if not is_dir]


def _counts(name: str, *, frames_only: bool) -> bool:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a Path per file of ImageNet takes seconds
    if suffix.lower() not in IMAGE_SUFFIXES or _LABEL_FILE.fullmatch(name):
        return False
    return not frames_only or stem.endswith(_FRAMES)


def _without_labels(names: Sequence[str]) -> list[str]:
    """Folders that may hold images; `masks` is a class of photos unless it lies beside `images`."""
    beside_images = any(name.lower() in _IMAGE_FOLDERS for name in names)
    return [name for name in names if not (beside_images and name.lower() in _LABEL_FOLDERS)]


def _holds_images(folder: Path) -> bool:
    return any(
        os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - as above
        for _, _, names in os.walk(folder)
        for name in names
    )


def _draw(seed: int, *names: str) -> bytes:
    # A digest instead of a random generator: NumPy's streams may change from version to version.
    return hashlib.sha256("\0".join((str(seed), *names)).encode(errors="surrogateescape")).digest()


def _content_hash(image: AnyPath) -> str:
    try:
        return sha256_file(Path(image))
    except PermissionError as error:
        name = os.fspath(image)
        raise ImageError(f"image '{name}' must be readable, got {error.strerror}. Check its permissions.") from error


def _size_bytes(image: AnyPath) -> int:
    try:
        return os.stat(image).st_size  # noqa: PTH116 - any kind of path
    except OSError as error:
        raise MissingFileError(
            f"image '{os.fspath(image)}' must exist, got {error.strerror}. Check the path."
        ) from error
