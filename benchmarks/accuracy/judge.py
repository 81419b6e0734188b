"""Trained models with their images, and how a quantized graph compares with its float32 one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.calibration.batches import Batches
from hrnet_deploy.calibration.image_folder import find_images
from hrnet_deploy.calibration.image_selection import check_disjoint
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.evaluation.metrics.segmentation import IGNORE, SegmentationMetrics, confusion_matrix
from hrnet_deploy.export import ExportOptions
from hrnet_deploy.export.open_source import open_source
from hrnet_deploy.export.plan import make_plan
from hrnet_deploy.export.quantize.calibrate import CalibrationSplit, select_images
from hrnet_deploy.exporters.simplify import simplify
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.postprocess import upsampled_argmax
from hrnet_deploy.processing.preprocess import Preprocessor

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


Scores = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Takes float32 (1, 3, height, width) and returns scores."""


class Judge:
    """A float32 graph with its outputs on the judged images, and its accuracy in percent (NaN without labels)."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        source = open_source(case.options)
        self.plan = make_plan(case.options).resolve(source.info)
        self.graph = simplify(source.to_onnx(self.plan.shapes, self.plan.opset))
        self.path = folder / f"{case.name}.onnx"
        self.path.write_bytes(self.graph.SerializeToString())
        self.images: CalibrationSplit = select_images(case.data, case.count, allow_val=False)
        check_disjoint([*self.images.calibration, *self.images.validation], case.judged)
        preprocess = Preprocessor(self.plan.preprocessing)
        views = shifted_views if case.views else (lambda image: (image,))
        images = [view for path in case.judged for view in views(read_frame(path).image)]
        self._feeds = [preprocess(image)[None] for image in images]
        self._truths = [_truth(truth) for truth in case.truths for _ in range(len(images) // len(case.judged))]
        self._sizes = [(t.shape[0], t.shape[1]) for t in self._truths if t.ndim == 2]
        self._reference = self._labels(open_scores(self.graph.SerializeToString()))
        self.float32 = self._accuracy(self._reference)

    def calibration_arrays(self) -> list[NDArray[np.float32]]:
        """Return the preprocessed calibration images, each float32 (1, 3, height, width)."""
        return list(Batches(self.images.calibration, self.plan.preprocessing, 1))

    def judge(self, scores: Scores) -> dict[str, Any]:
        """Compare outputs with float32: agreement, worst image, accuracy and drop in points, limits missed."""
        labels = self._labels(scores)
        equal = [float(np.mean(a == b)) for a, b in zip(labels, self._reference, strict=True)]
        row: dict[str, Any] = {"agreement": float(np.mean(equal)), "worst": min(equal)}
        if self.case.views:  # images are independent, their views are not
            images = np.reshape(equal, (len(self.case.judged), -1))
            error = float(images.mean(axis=1).std() / len(images) ** 0.5)
            row |= {"plain": float(images[:, 0].mean()), "se": error}
        if self._truths:
            accuracy = self._accuracy(labels)
            row |= {"accuracy": accuracy, "drop": self.float32 - accuracy}
        limits = self.case.limits
        missed = [n for n in ("agreement", "worst") if row[n] < limits.get(n, 0.0)]
        missed += ["drop"] if row.get("drop", 0.0) > limits.get("drop", 100.0) + 1e-9 else []
        return row | {"missed": missed}

    def _labels(self, scores: Scores) -> list[NDArray[Any]]:
        found = (scores(feed)[0] for feed in self._feeds)
        if self._sizes:
            return [upsampled_argmax(s, hw) for s, hw in zip(found, self._sizes, strict=True)]
        return [np.asarray(s.argmax(axis=0)) for s in found]

    def _accuracy(self, labels: Sequence[NDArray[Any]]) -> float:
        """Return mean IoU over the classes that occur, or top-1, in percent."""
        if not self._truths:
            return float("nan")
        truth, found = (np.concatenate([a.ravel() for a in arrays]) for arrays in (self._truths, labels))
        if not self._sizes:
            return 100 * float(np.mean(truth == found))
        confusion = confusion_matrix(truth, found.astype(np.uint8), IGNORE)
        return 100 * SegmentationMetrics(confusion).miou


def open_scores(content: bytes) -> Scores:
    """Open a graph on ONNX Runtime's CPU provider."""
    engine = open_engine(content, device="cpu", backend="onnxruntime")
    entry, output = engine.inputs[0].name, engine.outputs[0].name
    return lambda feed: engine.run({entry: feed})[output]


def _truth(truth: Path | int) -> NDArray[Any]:
    if isinstance(truth, int):
        return np.asarray([truth])
    image = cv2.imread(str(truth), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FileNotFoundError(truth)
    return image
