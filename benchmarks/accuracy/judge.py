"""A model's float32 graph and outputs, and how a quantized graph compares with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from accuracy.cases import Case, shifted_views
from hrnet_deploy.calibration.image_selection import check_disjoint
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.evaluation.metrics.segmentation import IGNORE, SegmentationMetrics, confusion_matrix
from hrnet_deploy.export.open_source import open_source
from hrnet_deploy.export.plan import make_plan
from hrnet_deploy.export.quantize.calibrate import CalibrationSplit, input_batches, select_images
from hrnet_deploy.exporters.simplify import simplify
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.postprocess import upsampled_argmax
from hrnet_deploy.processing.preprocess import Preprocessor

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
        return list(input_batches(self.images.calibration, self.plan.preprocessing))

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
