"""The images of a folder that calibration may use."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hrnet_deploy.calibration.image_selection import CalibrationImage
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.imaging.folders import IMAGE_SUFFIXES, is_image, list_folder

# Some data sets add a year or a size, such as val2017 or val_256.
_TRAINING = re.compile(r"(calib|calibration|train|training)[-_]?\d*")
_EVALUATION = re.compile(r"((.+[-_])?(val|valid|validation)|test|testing|eval|evaluation)[-_]?\d*")
_WNID = re.compile(r"n\d{8}")
_FRAMES = "leftImg8bit"
_LABEL_FILE = re.compile(r".*_(gtFine|gtCoarse|disparity)(_.*)?\.[^.]+")
_LABEL_FOLDERS = frozenset({"annotations", "ann_dir", "labels", "masks", "segmentationclass", "segmentationobject"})
_IMAGE_FOLDERS = frozenset({"images", "img_dir", "jpegimages"})
_ALLOW = "Name the training images, or allow it with allow_val=True (--allow-val)."


def find_images(folder: str | Path, *, allow_val: bool = False) -> tuple[CalibrationImage, ...]:
    """Find the images of a folder that calibration may use.

    1. Among splits, the one named calib is used, else the one named train, at any depth.
    2. Evaluation splits (val, test) beside other folders are left out.
    3. Below Cityscapes' `leftImg8bit` only frames count; label images never do, there or beside `images`.
    4. Otherwise every image counts, recursively; hidden files and folders are left out.

    Args:
        folder: plain, ImageNet's (`<split>/<wnid>/*.JPEG`, or any part of it) or Cityscapes'
            (`leftImg8bit/<split>/<city>/*_leftImg8bit.png`).
        allow_val: accept an evaluation split where the folder is one or holds nothing else.

    Returns:
        The images, sorted by path.

    Raises:
        MissingFileError: no such folder.
        UsageError: a file, or only evaluation images.
        ImageError: no images, or a folder below cannot be read.
    """
    root = Path(folder)
    if not os.path.exists(root):  # noqa: PTH110 - Path.exists raises below an unreadable folder
        raise MissingFileError(f"calibration folder must exist, got {root}. Check the path.")
    if not root.is_dir():
        raise UsageError(f"calibration data must be a folder, got the file {root}. Name the folder it lies in.")
    # A link named train may point to val; "." and ".." get their names when they are resolved.
    places = (Path(os.path.abspath(root)), root.resolve())  # noqa: PTH100 - Path.absolute keeps ".."
    evaluation = next((place for place in places if _is_evaluation(place)), None)
    if evaluation is not None and not allow_val:
        raise UsageError(f"calibration images must not be a split for evaluation, got {evaluation}. {_ALLOW}")
    search = _Search(allow_val)
    within_split = evaluation is not None or any(_TRAINING.fullmatch(p.name.lower()) for p in places)
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
    """A walk through folders and the images found."""

    allow_val: bool
    found: list[CalibrationImage] = field(default_factory=list)
    left_out: Path | None = None
    _seen: set[str] = field(default_factory=set)

    def walk(self, base: Path, folder: Path, *, may_split: bool, frames_only: bool) -> None:
        """Collect below `folder`; groups are named from `base`."""
        real = os.path.realpath(folder)
        if real in self._seen:  # links may form a circle
            return
        self._seen.add(real)
        folders, files = list_folder(folder)
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
            if may_split and not self.allow_val and _EVALUATION.fullmatch(name.lower()):
                self.left_out = self.left_out or folder / name
            else:
                self.walk(base, folder / name, may_split=may_split, frames_only=frames_only)

    def _training_split(self, folder: Path, names: Sequence[str]) -> str | None:
        """Return the split to use, or None: `train` may also be a class beside `bus` and `car`."""
        training = [name for name in names if _TRAINING.fullmatch(name.lower())]
        others = [name for name in _without_labels(names) if name not in training]
        is_split = any(_EVALUATION.fullmatch(name.lower()) for name in others)
        if not training or not (is_split or not any(_holds_images(folder / name) for name in others)):
            return None
        return min(training, key=lambda name: (not name.lower().startswith("calib"), name))


def _is_evaluation(folder: Path) -> bool:
    """Whether a folder is an evaluation split, or one class or city of it."""
    if _EVALUATION.fullmatch(folder.name.lower()):
        return True
    parent, above = folder.parent, folder.parent.parent
    if not _EVALUATION.fullmatch(parent.name.lower()):
        return False
    if _WNID.fullmatch(folder.name) or above.name == _FRAMES:
        return True
    try:
        return any(_TRAINING.fullmatch(name.lower()) for name in list_folder(above)[0])
    except ImageError:  # a folder above may be unreadable; the images are not there
        return False


def _counts(name: str, *, frames_only: bool) -> bool:
    if not is_image(name) or _LABEL_FILE.fullmatch(name):
        return False
    return not frames_only or name.rpartition(".")[0].endswith(_FRAMES)


def _without_labels(names: Sequence[str]) -> list[str]:
    """Return the folders that may hold images; `masks` is a class unless it lies beside `images`."""
    beside_images = any(name.lower() in _IMAGE_FOLDERS for name in names)
    return [name for name in names if not (beside_images and name.lower() in _LABEL_FOLDERS)]


def _holds_images(folder: Path) -> bool:
    return any(is_image(name) for _, _, names in os.walk(folder) for name in names)
