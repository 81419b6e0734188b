"""The accuracy that candidates lose against a reference, on the same images in the same run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
from hrnet_deploy.evaluation.datasets.dataset import Dataset, Sample
from hrnet_deploy.evaluation.evaluate import Evaluation, evaluation_of
from hrnet_deploy.evaluation.loaded_model import Artifact, open_models
from hrnet_deploy.evaluation.metrics.bootstrap import RESAMPLES, SEED, Statistic, paired_interval
from hrnet_deploy.evaluation.metrics.classification import TOP
from hrnet_deploy.evaluation.model_runner import Model
from hrnet_deploy.evaluation.run import DataOptions, Measurement, Settings, dataset_for, measure
from hrnet_deploy.evaluation.sliding_window import OVERLAP


def compare(
    reference: Artifact | Model,
    candidates: Sequence[Artifact | Model],
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
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Measure the accuracy that candidates lose: each image passes through all models before the next one.

    Args:
        reference: path or URL of an artifact, or a Predictor.
        candidates: paths, URLs or Predictors, at least one.
        data: this and all options up to `journal` are those of `evaluate`.
        labels: as for `evaluate`.
        split: as for `evaluate`.
        limit: as for `evaluate`.
        label_values: as for `evaluate`.
        ignore_label: as for `evaluate`.
        batch: as for `evaluate`.
        workers: as for `evaluate`.
        window: as for `evaluate`.
        overlap: as for `evaluate`.
        device: as for `evaluate`.
        backend: as for `evaluate`.
        threads: as for `evaluate`.
        journal: as for `evaluate`.
        resamples: resampled sets of each confidence interval.
        seed: of the resampling.

    Returns:
        The comparison.

    Raises:
        UsageError: no candidate, or one with another task or other classes than the reference.
        HrnetDeployError: as for `evaluate`.
    """
    if not candidates:
        raise UsageError("a comparison needs a candidate, got none. Name at least one artifact beside the reference.")
    settings = Settings(batch, workers, window, overlap, journal)
    with open_models([reference, *candidates], device=device, backend=backend, threads=threads) as models:
        dataset = dataset_for(models, data, DataOptions(labels, split, limit, label_values, ignore_label))
        measurement = measure(models, dataset, settings)
    return comparison_of(measurement, resamples=resamples, seed=seed)


def comparison_of(measurement: Measurement, *, resamples: int = RESAMPLES, seed: int = SEED) -> Comparison:
    """Compute the comparison of a measurement.

    Args:
        measurement: of two or more models, the reference first.
        resamples: resampled sets of each confidence interval.
        seed: of the resampling.

    Returns:
        The comparison.
    """
    reference = evaluation_of(measurement, 0)
    counts, samples = measurement.counts, measurement.dataset.samples
    comparisons = []
    for model in range(1, len(measurement.models)):
        candidate = evaluation_of(measurement, model)
        if isinstance(counts, SegmentationAccumulator):
            comparisons.append(_segmentation(counts, samples, reference, candidate, model, resamples, seed))
        else:
            comparisons.append(_classification(counts, samples, reference, candidate, model, resamples, seed))
    return Comparison(reference=reference, candidates=tuple(comparisons), resamples=resamples, seed=seed)


def _classification(
    counts: ClassificationAccumulator,
    samples: Sequence[Sample],
    reference: Evaluation,
    candidate: Evaluation,
    model: int,
    resamples: int,
    seed: int,
) -> CandidateComparison:
    ours, theirs = counts.hits(0), counts.hits(model)
    changed = counts.top[0, :, 0] != counts.top[model, :, 0]
    drops = []
    for name, top in (("top-1", 1), (f"top-{TOP}", TOP)):
        pairs = np.stack([counts.hits(0, top), counts.hits(model, top)], axis=1).astype(np.int64)
        drops.append(_drop(name, pairs, _share_drop(len(pairs)), resamples, seed))
    changes = [
        LabelChange(
            name=samples[index].name,
            path=samples[index].path,
            label=int(counts.labels[index]),
            reference=counts.ranking(0, index),
            candidate=counts.ranking(model, index),
        )
        for index in np.flatnonzero(changed).tolist()
    ]
    return CandidateComparison(
        evaluation=candidate,
        drops=tuple(drops),
        agreement=1 - float(changed.mean()),
        lost=float((ours & ~theirs).mean()),
        gained=float((theirs & ~ours).mean()),
        classes=_class_deltas(reference, candidate),
        images=tuple(sorted(changes, key=lambda change: change.rank)),
        transitions=None,
    )


def _segmentation(
    counts: SegmentationAccumulator,
    samples: Sequence[Sample],
    reference: Evaluation,
    candidate: Evaluation,
    model: int,
    resamples: int,
    seed: int,
) -> CandidateComparison:
    parts = (counts.labeled, counts.hits[0], counts.predicted[0], counts.hits[model], counts.predicted[model])
    rows = np.concatenate(parts, axis=1)
    drops = (
        _drop("mIoU", rows, _miou_drop, resamples, seed),
        _drop("pixel accuracy", rows, _pixel_drop, resamples, seed),
    )
    pixels, labeled = np.maximum(1, counts.pixels), np.maximum(1, counts.labeled.sum(axis=1))
    ours, theirs = counts.image_miou(0), counts.image_miou(model)
    images = [
        ChangedImage(
            name=samples[index].name,
            path=samples[index].path,
            label_path=Path(str(samples[index].label)),
            changed=float(counts.changed[model, index] / pixels[index]),
            lost=float(counts.lost[model, index] / labeled[index]),
            gained=float(counts.gained[model, index] / labeled[index]),
            reference_miou=float(ours[index]),
            candidate_miou=float(theirs[index]),
            transitions=counts.largest_transitions(model, index),
        )
        for index in np.flatnonzero(counts.changed[model]).tolist()
    ]
    return CandidateComparison(
        evaluation=candidate,
        drops=drops,
        agreement=1 - float(counts.changed[model].sum() / max(1, counts.pixels.sum())),
        lost=float(counts.lost[model].sum() / max(1, counts.labeled.sum())),
        gained=float(counts.gained[model].sum() / max(1, counts.labeled.sum())),
        classes=_class_deltas(reference, candidate),
        images=tuple(sorted(images, key=lambda image: image.rank)),
        transitions=counts.transitions[model].copy(),
    )


def _drop(name: str, rows: NDArray[np.integer], statistic: Statistic, resamples: int, seed: int) -> Drop:
    interval = paired_interval(rows, statistic, resamples=resamples, seed=seed)
    points = float(statistic(rows.sum(axis=0, keepdims=True).astype(np.float64))[0])
    low, high = (None, None) if interval is None else interval
    return Drop(name=name, points=points, low=low, high=high)


def _share_drop(images: int) -> Statistic:
    def drop(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(100 * (sums[:, 0] - sums[:, 1]) / images, np.float64)

    return drop


def _miou_drop(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    labeled, *rest = np.split(sums, 5, axis=1)
    return 100 * (mean_labeled_iou(labeled, rest[0], rest[1]) - mean_labeled_iou(labeled, rest[2], rest[3]))


def _pixel_drop(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    labeled, ours, _, theirs, _ = np.split(sums, 5, axis=1)
    total = np.maximum(1, labeled.sum(axis=1))
    return np.asarray(100 * (ours.sum(axis=1) - theirs.sum(axis=1)) / total, np.float64)


def _class_deltas(reference: Evaluation, candidate: Evaluation) -> tuple[ClassDelta, ...]:
    ours, theirs = (
        [None if np.isnan(value) else float(value) for value in evaluation.metrics.class_values]
        for evaluation in (reference, candidate)
    )
    return tuple(
        ClassDelta(index=index, name=name, support=int(support), reference=ours[index], candidate=theirs[index])
        for index, (name, support) in enumerate(zip(reference.classes, reference.metrics.support, strict=True))
    )
