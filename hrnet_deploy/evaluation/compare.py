"""The accuracy that candidates lose against a reference, on the same images in the same run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.accumulators import ClassificationAccumulator, SegmentationAccumulator, mean_labeled_iou
from hrnet_deploy.evaluation.comparison import (
    CandidateComparison,
    ChangedImage,
    ClassDelta,
    Comparison,
    Drop,
    LabelChange,
)
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.evaluate import evaluation_of
from hrnet_deploy.evaluation.loaded_model import Artifact
from hrnet_deploy.evaluation.metrics.bootstrap import RESAMPLES, SEED, Statistic, paired_interval
from hrnet_deploy.evaluation.metrics.classification import TOP
from hrnet_deploy.evaluation.model_runner import Model
from hrnet_deploy.evaluation.options import EvaluationKeywords, EvaluationOptions
from hrnet_deploy.evaluation.run import Measurement, measure_all

if TYPE_CHECKING:
    from typing_extensions import Unpack

_MakeDrop = Callable[[str, NDArray[np.integer], Statistic], Drop]


def compare(
    reference: Artifact | Model,
    candidates: Sequence[Artifact | Model],
    data: str | Path | Dataset,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    **options: Unpack[EvaluationKeywords],
) -> Comparison:
    """Measure the accuracy that candidates lose: each image passes through all models before the next one.

    Args:
        reference: path or URL of an artifact, or a Predictor.
        candidates: paths, URLs or Predictors, at least one.
        data: as for `evaluate`.
        resamples: resampled sets of each confidence interval.
        seed: of the resampling.
        options: fields of `EvaluationOptions`.

    Returns:
        The comparison.

    Raises:
        UsageError: no candidate, or one with another task or other classes than the reference.
        HrnetDeployError: as for `evaluate`.
    """
    if not candidates:
        raise UsageError("a comparison needs a candidate, got none. Name at least one artifact beside the reference.")
    measurement = measure_all([reference, *candidates], data, EvaluationOptions(**options))
    return comparison_of(measurement, resamples=resamples, seed=seed)


def comparison_of(measurement: Measurement, *, resamples: int = RESAMPLES, seed: int = SEED) -> Comparison:
    """Compare the models of a measurement with its first one, by intervals of so many resampled sets."""
    drop = functools.partial(_drop, resamples=resamples, seed=seed)
    counts = measurement.counts
    compared = [
        _segmentation(measurement, counts, model, drop)
        if isinstance(counts, SegmentationAccumulator)
        else _classification(measurement, counts, model, drop)
        for model in range(1, len(measurement.models))
    ]
    return Comparison(
        reference=evaluation_of(measurement, 0), candidates=tuple(compared), resamples=resamples, seed=seed
    )


def _classification(
    measurement: Measurement, counts: ClassificationAccumulator, model: int, drop: _MakeDrop
) -> CandidateComparison:
    samples, ours, theirs = measurement.dataset.samples, counts.hits(0), counts.hits(model)
    changed = counts.top[0, :, 0] != counts.top[model, :, 0]
    drops = []
    for name, top in (("top-1", 1), (f"top-{TOP}", TOP)):
        hits = (counts.hits(0, top), counts.hits(model, top), np.ones(len(ours)))
        drops.append(drop(name, np.stack(hits, axis=1).astype(np.int64), _share_drop))
    changes = [
        LabelChange(
            samples[index].name,
            samples[index].path,
            label=int(counts.labels[index]),
            reference=counts.ranking(0, index),
            candidate=counts.ranking(model, index),
        )
        for index in np.flatnonzero(changed).tolist()
    ]
    return CandidateComparison(
        evaluation=evaluation_of(measurement, model),
        drops=tuple(drops),
        agreement=1 - float(changed.mean()),
        lost=float((ours & ~theirs).mean()),
        gained=float((theirs & ~ours).mean()),
        classes=_class_deltas(measurement, model),
        images=tuple(sorted(changes, key=lambda change: change.rank)),
        transitions=None,
    )


def _segmentation(
    measurement: Measurement, counts: SegmentationAccumulator, model: int, drop: _MakeDrop
) -> CandidateComparison:
    samples = measurement.dataset.samples
    parts = (counts.labeled, counts.hits[0], counts.predicted[0], counts.hits[model], counts.predicted[model])
    rows = np.concatenate(parts, axis=1)
    changed, lost, gained = counts.changed[model], counts.lost[model], counts.gained[model]
    pixels, labeled = np.maximum(1, counts.pixels), np.maximum(1, counts.labeled.sum(axis=1))
    ours, theirs = counts.image_miou(0), counts.image_miou(model)
    images = [
        ChangedImage(
            samples[index].name,
            samples[index].path,
            Path(str(samples[index].label)),
            changed=float(changed[index] / pixels[index]),
            lost=float(lost[index] / labeled[index]),
            gained=float(gained[index] / labeled[index]),
            reference_miou=float(ours[index]),
            candidate_miou=float(theirs[index]),
            transitions=counts.largest_transitions(model, index),
        )
        for index in np.flatnonzero(changed).tolist()
    ]
    total = max(1, counts.labeled.sum())
    return CandidateComparison(
        evaluation=evaluation_of(measurement, model),
        drops=(drop("mIoU", rows, _miou_drop), drop("pixel accuracy", rows, _pixel_drop)),
        agreement=1 - float(changed.sum() / max(1, counts.pixels.sum())),
        lost=float(lost.sum() / total),
        gained=float(gained.sum() / total),
        classes=_class_deltas(measurement, model),
        images=tuple(sorted(images, key=lambda image: image.rank)),
        transitions=counts.transitions[model].copy(),
    )


def _drop(name: str, rows: NDArray[np.integer], statistic: Statistic, *, resamples: int, seed: int) -> Drop:
    interval = paired_interval(rows, statistic, resamples=resamples, seed=seed)
    points = float(statistic(rows.sum(axis=0, keepdims=True).astype(np.float64))[0])
    return Drop(name, points, *(interval or (None, None)))


def _share_drop(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(100 * (sums[:, 0] - sums[:, 1]) / sums[:, 2], np.float64)


def _miou_drop(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    labeled, *rest = np.split(sums, 5, axis=1)
    return 100 * (mean_labeled_iou(labeled, rest[0], rest[1]) - mean_labeled_iou(labeled, rest[2], rest[3]))


def _pixel_drop(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    labeled, ours, _, theirs, _ = np.split(sums, 5, axis=1)
    total = np.maximum(1, labeled.sum(axis=1))
    return np.asarray(100 * (ours.sum(axis=1) - theirs.sum(axis=1)) / total, np.float64)


def _class_deltas(measurement: Measurement, model: int) -> tuple[ClassDelta, ...]:
    metrics = [measurement.counts.metrics(index) for index in (0, model)]
    values = ([None if np.isnan(value) else float(value) for value in each.class_values] for each in metrics)
    rows = zip(measurement.models[0].card.classes, metrics[0].support.tolist(), *values, strict=True)
    return tuple(ClassDelta(index, *row) for index, row in enumerate(rows))
