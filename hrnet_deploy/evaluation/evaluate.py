"""How good one artefact is on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hrnet_deploy.evaluation.accumulators import SegmentationTally
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.metrics.classification import ClassificationMetrics, Ranking
from hrnet_deploy.evaluation.metrics.segmentation import SegmentationMetrics
from hrnet_deploy.evaluation.model_runner import Model
from hrnet_deploy.evaluation.run import DataOptions, Measurement, Settings, dataset_for, measure, opened
from hrnet_deploy.evaluation.run_info import DataFacts, ModelFacts, RunFacts
from hrnet_deploy.evaluation.sliding_window import OVERLAP, Sliding

Metrics = ClassificationMetrics | SegmentationMetrics
"""What a net reaches; both have `name`, `value`, `class_values`, `support` and `to_dict()`."""


@dataclass(frozen=True)
class ClassifiedImage:
    """A classifier's answer to one image.

    Attributes:
        name: path below the data set's root.
        path: the file.
        label: index of the right class.
        ranking: the best classes and their probabilities.
    """

    name: str
    path: Path
    label: int
    ranking: Ranking

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        top, scores = list(self.ranking.top), list(self.ranking.scores)
        return {"name": self.name, "label": self.label, "top": top, "scores": scores}


@dataclass(frozen=True)
class SegmentedImage:
    """A segmenter's answer to one image.

    Attributes:
        name: path below the data set's root.
        path: the file.
        label_path: its label image.
        judged: pixels with a label.
        correct: of those answered right.
        miou: mean IoU over the classes labelled in it, 0..1.
    """

    name: str
    path: Path
    label_path: Path
    judged: int
    correct: int
    miou: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"name": self.name, "judged": self.judged, "correct": self.correct, "miou": self.miou}


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """How good an artefact is.

    Attributes:
        model: the artefact.
        data: the images.
        run: how the run went.
        inference_s: seconds inside the graph in this run.
        classes: class names by index.
        metrics: what it reaches.
        images: its answer to each image, in the data set's order.
    """

    model: ModelFacts
    data: DataFacts
    run: RunFacts
    inference_s: float
    classes: tuple[str, ...]
    metrics: Metrics
    images: tuple[ClassifiedImage, ...] | tuple[SegmentedImage, ...]

    def to_dict(self, *, images: bool = True) -> dict[str, Any]:
        """Plain values, ready for JSON.

        Args:
            images: with the answer to each image.

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
    model: str | Path | Model,
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
    """Measure an artefact on labelled images: top-1 and top-5, or mIoU and what goes with it.

    Args:
        model: path of an artefact, or a Predictor.
        data: folder or label file (see `find_photos` and `find_scenes` for the layouts), or a data set.
        labels: label file for a folder of photos.
        split: folder to use where there are several; None for "val" or what there is.
        limit: number of images, spread evenly; None for all.
        label_values: what label images hold for each class, in the order of the classes, such as (0, 255); None for
            0, 1, 2, ....
        ignore_label: what they hold where a pixel is not judged, beside 255.
        batch: images per inference.
        workers: threads that read ahead and count; None to suit the machine.
        window: (height, width) of sliding windows over pictures at their own size; None to bring each picture to the
            model's size.
        overlap: share of a window that its neighbour covers too.
        device: for a path, as for Predictor.
        backend: for a path, as for Predictor.
        threads: for a path, CPU threads of the runtime.
        journal: folder that keeps answers, so that an interrupted run goes on where it stopped; None for none.

    Returns:
        The evaluation; it does not depend on batch, workers or interruptions.

    Raises:
        HrnetDeployError: bad input, one line each; see `find_dataset`, `measure` and Predictor.
    """
    settings = make_settings(batch, workers, window, overlap, journal)
    with opened([model], device=device, backend=backend, threads=threads) as models:
        dataset = dataset_for(models, data, DataOptions(labels, split, limit, label_values, ignore_label))
        return evaluation_of(measure(models, dataset, settings), 0)


def make_settings(
    batch: int, workers: int | None, window: tuple[int, int] | None, overlap: float, journal: str | Path | None
) -> Settings:
    """Settings from a caller's keywords.

    Args:
        batch: as for `evaluate`.
        workers: as for `evaluate`.
        window: as for `evaluate`.
        overlap: as for `evaluate`.
        journal: as for `evaluate`.

    Returns:
        The settings.

    Raises:
        UsageError: one that cannot be used.
    """
    return Settings(
        batch=batch,
        workers=workers,
        sliding=None if window is None else Sliding.overlapping(window, overlap),
        journal=None if journal is None else Path(journal),
    )


def evaluation_of(measurement: Measurement, net: int) -> Evaluation:
    """One net's part of a measurement.

    Args:
        measurement: of one net or several.
        net: which one.

    Returns:
        Its evaluation.
    """
    return Evaluation(
        model=measurement.models[net],
        data=measurement.data,
        run=measurement.run,
        inference_s=measurement.inference_s[net],
        classes=measurement.models[net].card.classes,
        metrics=measurement.tally.metrics(net),
        images=_images(measurement, net),
    )


def _images(measurement: Measurement, net: int) -> tuple[ClassifiedImage, ...] | tuple[SegmentedImage, ...]:
    tally, samples = measurement.tally, measurement.dataset.samples
    if isinstance(tally, SegmentationTally):
        miou = tally.image_miou(net)
        return tuple(
            SegmentedImage(
                sample.name,
                sample.path,
                Path(str(sample.label)),
                judged=int(tally.labelled[index].sum()),
                correct=int(tally.hits[net, index].sum()),
                miou=float(miou[index]),
            )
            for index, sample in enumerate(samples)
        )
    return tuple(
        ClassifiedImage(sample.name, sample.path, int(tally.labels[index]), tally.ranking(net, index))
        for index, sample in enumerate(samples)
    )
