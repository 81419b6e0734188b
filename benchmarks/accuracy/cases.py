"""Trained models with the images that they are calibrated on and judged on."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.calibration.image_folder import find_images
from hrnet_deploy.export import ExportOptions

CASES = ("street", "photos", "person")
_SHIFTS = ((0, 0), (-3, 2), (-2, -2), (-1, 3), (1, -3), (2, 2), (3, -1), (0, 3), (-3, -3), (3, 0))


@dataclass(frozen=True)
class Case:
    """A trained model and its images.

    Attributes:
        options: of the INT8 export; of fewer calibration images than `calib_images` a fifth is set aside for `auto`.
        judged: images that nothing is calibrated on.
        truths: label image or class index of each; empty where only agreement with float32 is judged.
        limits: agreement, drop in points and worst image that INT8 must achieve.
        views: judge each image also mirrored and shifted: one label an image hides differences of one in a hundred.
    """

    name: str
    options: ExportOptions
    judged: tuple[Path, ...]
    truths: tuple[Path | int, ...]
    limits: dict[str, float]
    views: bool = False

    @property
    def data(self) -> Path:
        """Folder to calibrate on."""
        return Path(self.options.calib_data or "")

    @property
    def count(self) -> int:
        """Images to calibrate on."""
        return self.options.calib_images or 0


def make_case(name: str, shared: Path) -> Case:
    """Return one of `CASES` from a folder with `weights` and `data`."""
    weights, data = shared / "weights", shared / "data"
    int8 = functools.partial(ExportOptions, precision="int8")
    if name == "street":
        options = int8(
            weights=weights / "hrnetv2_w18_small_v1_street.pth",
            imgsz="360x480",
            batch=1,
            calib_data=data / "street",
            calib_images=24,
        )
        images = image_paths(data / "street" / "leftImg8bit" / "val")
        stems = (str(path).replace("leftImg8bit/", "gtFine/", 1).removesuffix("_leftImg8bit.png") for path in images)
        labels = tuple(Path(f"{stem}_gtFine_labelTrainIds.png") for stem in stems)
        return Case(name, options, images, labels, {"drop": 0.2, "agreement": 0.992})
    if name == "photos":
        options = int8(
            weights=weights / "hrnet_w18_small_v1_photos10.safetensors",
            imgsz=64,
            batch=1,
            resize="squash",
            calib_data=data / "photos" / "train",
            calib_images=512,
        )
        images = image_paths(data / "photos" / "val")
        classes = sorted({path.parent.name for path in images})
        indices = tuple(classes.index(path.parent.name) for path in images)
        return Case(name, options, images, indices, {"drop": 0.5, "agreement": 0.985}, views=True)
    half, path, calib = (0.5, 0.5, 0.5), weights / "person_w18_small_v1.onnx", data / "imagenet" / "calib"
    options = int8(path, task="segmentation", mean=half, std=half, calib_data=calib, calib_images=512)
    return Case(name, options, image_paths(data / "imagenet" / "val"), (), {"agreement": 0.996, "worst": 0.97})


def image_paths(folder: Path) -> tuple[Path, ...]:
    """Return the images of a folder."""
    return tuple(image.path for image in find_images(folder, allow_val=True))


def shifted_views(image: NDArray[np.uint8]) -> Iterable[NDArray[np.uint8]]:
    """Yield the image and its mirror image, each as it is and shifted nine ways by up to three pixels."""
    height, width = image.shape[:2]
    for facing in (image, image[:, ::-1]):
        wide = cv2.copyMakeBorder(np.ascontiguousarray(facing), 4, 4, 4, 4, cv2.BORDER_REFLECT_101)
        for down, right in _SHIFTS:
            yield np.ascontiguousarray(wide[4 + down : 4 + down + height, 4 + right : 4 + right + width])
