"""The accuracy of one artifact on labeled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hrnet_deploy.evaluation.accumulators import SegmentationAccumulator
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.loaded_model import Artifact, open_models
from hrnet_deploy.evaluation.metrics.classification import ClassificationMetrics, Ranking
from hrnet_deploy.evaluation.metrics.segmentation import SegmentationMetrics
from hrnet_deploy.evaluation.model_runner import Model
from hrnet_deploy.evaluation.run import DataOptions, Measurement, Settings, dataset_for, measure
from hrnet_deploy.evaluation.run_info import DataInfo, EvaluatedModel, RunInfo
from hrnet_deploy.evaluation.sliding_window import OVERLAP

Metrics = ClassificationMetrics | SegmentationMetrics
"""The metrics of either task; both have `name`, `value`, `class_values`, `support` and `to_dict()`."""


@dataclass(frozen=True)
class ClassifiedImage:
    """A classifier's prediction for one image.

    Attributes:
        name: path below the dataset's root.
    """

    name: str
    path: Path
    label: int
    ranking: Ranking

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        top, scores = list(self.ranking.top), list(self.ranking.scores)
        return {"name": self.name, "label": self.label, "top": top, "scores": scores}


@dataclass(frozen=True)
class SegmentedImage:
    """A segmentation model's prediction for one image.

    Attributes:
        name: path below the dataset's root.
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
        return {"name": self.name, "judged": self.judged, "correct": self.correct, "miou": self.miou}


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """The accuracy of an artifact.

    Attributes:
        run: settings and duration of the run.
        inference_s: seconds inside the graph in this run.
        images: the prediction for each image, in the dataset's order.
    """

    model: EvaluatedModel
    data: DataInfo
    run: RunInfo
    inference_s: float
    classes: tuple[str, ...]
    metrics: Metrics
    images: tuple[ClassifiedImage, ...] | tuple[SegmentedImage, ...]

    def to_dict(self, *, images: bool = True) -> dict[str, Any]:
        """Return plain values, ready for JSON.

        Args:
            images: include the prediction for each image.

        Returns:
            Nested dicts and lists; a class without a value has None.
        """
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


def evaluate(
    model: Artifact | Model,
    data: str | Path | Dataset,
    *,
    labels: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    label_values: Sequence[int] | None = None,
    ignore_label: int | None = None,
    batch: int = 1,
    workers: int | None = None,
    window: tuple[int, int] | None = None,
    overlap: float = OVERLAP,
    device: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
    journal: str | Path | None = None,
) -> Evaluation:
    """Measure an artifact's accuracy on labeled images: top-1 and top-5, or mIoU and pixel accuracy.

    Args:
        model: path or URL of an artifact, or a Predictor.
        data: folder or label file (see `find_photos` and `find_scenes` for the layouts), or a dataset.
        labels: label file of an image folder.
        split: subfolder to use if there are several; None for "val" if it exists.
        limit: number of images, spread evenly; None for all.
        label_values: value of each class in label images, in the order of the classes, such as (0, 255); None for
            0, 1, 2, ....
        ignore_label: value in label images that no metric counts, in addition to 255.
        batch: images per inference.
        workers: threads that read and count; None to suit the machine.
        window: (height, width) of sliding windows over images at their own size; None to resize each image to the
            model's size.
        overlap: share of a window that its neighbor covers too.
        device: for a path, as for Predictor.
        backend: for a path, as for Predictor.
        threads: for a path, CPU threads of the runtime.
        journal: folder that stores predictions, so that an interrupted run resumes; None for none.

    Returns:
        The evaluation; it does not depend on batch, workers or interruptions.

    Raises:
        HrnetDeployError: bad input, one line each; see `find_dataset`, `measure` and Predictor.
    """
    settings = Settings(batch, workers, window, overlap, journal)
    with open_models([model], device=device, backend=backend, threads=threads) as models:
        dataset = dataset_for(models, data, DataOptions(labels, split, limit, label_values, ignore_label))
        return evaluation_of(measure(models, dataset, settings), 0)


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
