"""A model's float32 graph and outputs, and how a quantized graph compares with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from accuracy.cases import Case, shifted_views
from hrnet_deploy.calibration.batches import Batches
from hrnet_deploy.calibration.image_selection import check_disjoint
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.export.open_source import open_source
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.plan import ExportPlan, make_plan
from hrnet_deploy.export.quantize.calibrate import CalibrationSplit, select_images
from hrnet_deploy.exporters.simplify import simplify
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.postprocess import upsampled_argmax
from hrnet_deploy.processing.preprocess import Preprocessor

if TYPE_CHECKING:
    import onnx

Scores = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Takes float32 (1, 3, height, width) and returns scores."""
_IGNORE = 255


class Judge:
    """A float32 graph with its outputs on the judged images.

    Attributes:
        path: the graph's file.
        images: those to calibrate on and those set aside.
        float32: accuracy in percent; NaN where there are no labels.
    """

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        options = ExportOptions(
            case.model,
            weights=case.weights,
            task="segmentation" if case.model else None,
            precision="int8",
            calib_data=case.data,
            calib_images=case.count,
            **case.options,
        )
        self.plan, self.graph = float32_graph(options)
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
        """Compare outputs with float32: agreement, worst image, accuracy and drop in points, limits missed.

        With views also the standard error (images are independent, their views are not) and agreement without them.
        """
        labels = self._labels(scores)
        equal = [float(np.mean(a == b)) for a, b in zip(labels, self._reference, strict=True)]
        row: dict[str, Any] = {"agreement": float(np.mean(equal)), "worst": min(equal)}
        if self.case.views:
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
        counted = truth != _IGNORE
        truth, found = truth[counted].astype(np.int64), found[counted].astype(np.int64)
        size = int(max(truth.max(), found.max())) + 1
        table = np.bincount(truth * size + found, minlength=size * size).reshape(size, size)
        hits, real, predicted = np.diag(table), table.sum(axis=1), table.sum(axis=0)
        occurs = real > 0
        return 100 * float(np.mean(hits[occurs] / (real + predicted - hits)[occurs]))


def float32_graph(options: ExportOptions) -> tuple[ExportPlan, onnx.ModelProto]:
    """Trace and simplify a model; also return the plan of its export."""
    source = open_source(options)
    plan = make_plan(options).resolve(source.info)
    return plan, simplify(source.to_onnx(plan.shapes, plan.opset))


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
