"""Which files of a folder may be calibrated on."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.calibration.image_selection import CalibrationImage
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.imaging.folders import IMAGE_SUFFIXES

# With the year or size some data sets add, such as val2017 or val_256.
_TRAINING = re.compile(r"(calib|calibration|train|training)[-_]?\d*")
_HELD_OUT = re.compile(r"((.+[-_])?(val|valid|validation)|test|testing|eval|evaluation)[-_]?\d*")
_WNID = re.compile(r"n\d{8}")
_FRAMES = "leftImg8bit"
_LABEL_FILE = re.compile(r".*_(gtFine|gtCoarse|disparity)(_.*)?\.[^.]+")
_LABEL_FOLDERS = frozenset({"annotations", "ann_dir", "labels", "masks", "segmentationclass", "segmentationobject"})
_IMAGE_FOLDERS = frozenset({"images", "img_dir", "jpegimages"})
_ALLOW = "Name the training images, or allow it with allow_val=True (--allow-val)."


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
