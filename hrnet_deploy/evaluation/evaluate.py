"""The accuracy of one artifact on labeled images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrnet_deploy.evaluation.accumulators import SegmentationAccumulator
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.loaded_model import Artifact
from hrnet_deploy.evaluation.metrics.classification import ClassificationMetrics, Ranking
from hrnet_deploy.evaluation.metrics.segmentation import SegmentationMetrics
from hrnet_deploy.evaluation.model_runner import Model
from hrnet_deploy.evaluation.options import EvaluationKeywords, EvaluationOptions
from hrnet_deploy.evaluation.run import Measurement, measure_all
from hrnet_deploy.evaluation.run_info import DataInfo, EvaluatedModel, RunInfo

if TYPE_CHECKING:
    from typing_extensions import Unpack

Metrics = ClassificationMetrics | SegmentationMetrics
"""The metrics of either task; both have `name`, `value`, `class_values`, `support` and `to_dict()`."""


@dataclass(frozen=True)
class ClassifiedImage:
    """A classifier's prediction for one image."""

    name: str
    path: Path
    label: int
    ranking: Ranking

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"name": self.name, "label": self.label} | {k: list(v) for k, v in vars(self.ranking).items()}


@dataclass(frozen=True)
class SegmentedImage:
    """A segmentation model's prediction for one image.

    Attributes:
        judged: pixels with a label.
        correct: labeled pixels that are predicted correctly.
        miou: mean IoU over the classes labeled in it, 0..1.
    """

    name: str
    path: Path
    label_path: Path
    judged: int
    correct: int
    miou: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {name: getattr(self, name) for name in ("name", "judged", "correct", "miou")}


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """The accuracy of an artifact.

    Attributes:
        inference_s: seconds inside the graph in this run.
        images: predictions in the dataset's order.
    """

    model: EvaluatedModel
    data: DataInfo
    run: RunInfo
    inference_s: float
    classes: tuple[str, ...]
    metrics: Metrics
    images: tuple[ClassifiedImage, ...] | tuple[SegmentedImage, ...]

    def to_dict(self, *, images: bool = True) -> dict[str, Any]:
        """Return plain values, ready for JSON, with or without each image; a class without a value has None."""
        values = zip(self.classes, self.metrics.class_values, self.metrics.support, strict=True)
        content = {
            "model": self.model.to_dict(),
            "data": self.data.to_dict(),
            "run": self.run.to_dict() | {"inference_s": round(self.inference_s, 3)},
            "metric": self.metrics.name,
            "metrics": self.metrics.to_dict(),
            "classes": [
                {"name": name, "value": None if np.isnan(value) else float(value), "support": int(support)}
                for name, value, support in values
            ],
        }
        return content | ({"images": [image.to_dict() for image in self.images]} if images else {})


def evaluate(model: Artifact | Model, data: str | Path | Dataset, **options: Unpack[EvaluationKeywords]) -> Evaluation:
    """Measure an artifact's accuracy on labeled images: top-1 and top-5, or mIoU and pixel accuracy.

    Args:
        model: path or URL of an artifact, or a Predictor.
        data: folder or label file (see `find_photos` and `find_scenes` for the layouts), or a dataset.
        options: fields of `EvaluationOptions`.

    Returns:
        The evaluation; it does not depend on batch, workers or interruptions.

    Raises:
        HrnetDeployError: bad input, one line each; see `find_dataset` and Predictor.
    """
    return evaluation_of(measure_all([model], data, EvaluationOptions(**options)), 0)


def evaluation_of(measurement: Measurement, model: int) -> Evaluation:
    """Return one model's part of a measurement."""
    return Evaluation(
        model=measurement.models[model],
        data=measurement.data,
        run=measurement.run,
        inference_s=measurement.inference_s[model],
        classes=measurement.models[model].card.classes,
        metrics=measurement.counts.metrics(model),
        images=_images(measurement, model),
    )


def _images(measurement: Measurement, model: int) -> tuple[ClassifiedImage, ...] | tuple[SegmentedImage, ...]:
    counts, samples = measurement.counts, measurement.dataset.samples
    if isinstance(counts, SegmentationAccumulator):
        miou = counts.image_miou(model)
        return tuple(
            SegmentedImage(
                sample.name,
                sample.path,
                Path(str(sample.label)),
                judged=int(counts.labeled[index].sum()),
                correct=int(counts.hits[model, index].sum()),
                miou=float(miou[index]),
            )
            for index, sample in enumerate(samples)
        )
    return tuple(
        ClassifiedImage(sample.name, sample.path, int(counts.labels[index]), counts.ranking(model, index))
        for index, sample in enumerate(samples)
    )
