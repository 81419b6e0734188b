"""Trained models with the images that they are calibrated on and judged on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.calibration.image_folder import find_images

CASES = ("street", "photos", "person")
_SHIFTS = ((0, 0), (-3, 2), (-2, -2), (-1, 3), (1, -3), (2, 2), (3, -1), (0, 3), (-3, -3), (3, 0))


@dataclass(frozen=True)
class Case:
    """A trained model and its images.

    Attributes:
        name: in the tables.
        model: a variant or an .onnx file.
        weights: a checkpoint.
        options: of the export, beside model, weights and calibration images.
        data: folder to calibrate on.
        count: images to calibrate on; where there are fewer, a fifth is set aside for `auto`.
        judged: images that nothing is calibrated on.
        truths: label image or class index of each; empty where only agreement with float32 is judged.
        limits: agreement, drop in points and worst image that INT8 must achieve.
        views: judge each image also mirrored and shifted: one label an image hides differences of one in a hundred.
    """

    name: str
    model: str | None
    weights: Path | None
    options: dict[str, Any]
    data: Path
    count: int
    judged: tuple[Path, ...]
    truths: tuple[Path | int, ...] = ()
    limits: dict[str, float] = field(default_factory=dict)
    views: bool = False


def make_case(name: str, shared: Path) -> Case:
    """Return one of `CASES` from a folder with `weights` and `data`."""
    weights, data = shared / "weights", shared / "data"
    if name == "street":
        images = image_paths(data / "street" / "leftImg8bit" / "val")
        stems = (str(path).replace("leftImg8bit/", "gtFine/", 1).removesuffix("_leftImg8bit.png") for path in images)
        return Case(
            name,
            None,
            weights / "hrnetv2_w18_small_v1_street.pth",
            {"imgsz": "360x480", "batch": 1},
            data / "street",
            24,
            images,
            tuple(Path(f"{stem}_gtFine_labelTrainIds.png") for stem in stems),
            {"drop": 0.2, "agreement": 0.992},
        )
    if name == "photos":
        images = image_paths(data / "photos" / "val")
        classes = sorted({path.parent.name for path in images})
        return Case(
            name,
            None,
            weights / "hrnet_w18_small_v1_photos10.safetensors",
            {"imgsz": 64, "batch": 1, "resize": "squash"},
            data / "photos" / "train",
            512,
            images,
            tuple(classes.index(path.parent.name) for path in images),
            {"drop": 0.5, "agreement": 0.985},
            views=True,
        )
    half = (0.5, 0.5, 0.5)
    return Case(
        name,
        str(weights / "person_w18_small_v1.onnx"),
        None,
        {"mean": half, "std": half},
        data / "imagenet" / "calib",
        512,
        image_paths(data / "imagenet" / "val"),
        limits={"agreement": 0.996, "worst": 0.97},
    )


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
