"""What cheaper artefacts lose against a reference, on the same images in the same run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.accumulators import ClassificationTally, SegmentationTally, mean_labelled
from hrnet_deploy.evaluation.comparison import (
    CandidateComparison,
    ChangedImage,
    ClassDelta,
    Comparison,
    Drop,
    LabelChange,
)
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.evaluate import Evaluation, evaluation_of, make_settings
from hrnet_deploy.evaluation.metrics.bootstrap import RESAMPLES, SEED, Figure, paired_interval
from hrnet_deploy.evaluation.metrics.classification import TOP
from hrnet_deploy.evaluation.model_runner import Model
from hrnet_deploy.evaluation.run import DataOptions, Measurement, dataset_for, measure, opened
from hrnet_deploy.evaluation.sliding_window import OVERLAP


def compare(
    reference: str | Path | Model,
    candidates: Sequence[str | Path | Model],
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
    """Measure what candidates lose: every image goes through every model before the next is looked at.

    Args:
        reference: path of an artefact, or a Predictor.
        candidates: the same, at least one.
        data: as for `evaluate`.
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
        resamples: resampled sets behind each interval.
        seed: of the resampling.

    Returns:
        The comparison.

    Raises:
        UsageError: no candidate; another task or other classes than the reference's.
        HrnetDeployError: as for `evaluate`.
    """
    if not candidates:
        raise UsageError("a comparison needs a candidate, got none. Name at least one artefact beside the reference.")
    settings = make_settings(batch, workers, window, overlap, journal)
    with opened([reference, *candidates], device=device, backend=backend, threads=threads) as models:
        dataset = dataset_for(models, data, DataOptions(labels, split, limit, label_values, ignore_label))
        measurement = measure(models, dataset, settings)
    return comparison_of(measurement, resamples=resamples, seed=seed)


def comparison_of(measurement: Measurement, *, resamples: int = RESAMPLES, seed: int = SEED) -> Comparison:
    """Read the comparison off a measurement.

    Args:
        measurement: of two or more nets, the reference first.
        resamples: resampled sets behind each interval.
        seed: of the resampling.

    Returns:
        The comparison.
    """
    reference = evaluation_of(measurement, 0)
    contrasts = []
    for net in range(1, len(measurement.models)):
        candidate = evaluation_of(measurement, net)
        tally = measurement.tally
        if isinstance(tally, SegmentationTally):
            contrasts.append(_segmentation(measurement, tally, reference, candidate, net, resamples, seed))
        else:
            contrasts.append(_classification(measurement, tally, reference, candidate, net, resamples, seed))
    return Comparison(reference=reference, candidates=tuple(contrasts), resamples=resamples, seed=seed)


def _classification(
    measurement: Measurement,
    tally: ClassificationTally,
    reference: Evaluation,
    candidate: Evaluation,
    net: int,
    resamples: int,
    seed: int,
) -> CandidateComparison:
    ours, theirs = tally.hits(0), tally.hits(net)
    changed = tally.top[0, :, 0] != tally.top[net, :, 0]
    drops = []
    for name, top in (("top-1", 1), (f"top-{TOP}", TOP)):
        pairs = np.stack([tally.hits(0, top), tally.hits(net, top)], axis=1).astype(np.int64)
        drops.append(_drop(name, pairs, _share_drop(len(pairs)), resamples, seed))
    flips = [
        LabelChange(
            name=sample.name,
            path=sample.path,
            label=int(tally.labels[index]),
            reference=tally.ranking(0, index),
            candidate=tally.ranking(net, index),
        )
        for index, sample in enumerate(measurement.dataset.samples)
        if changed[index]
    ]
    return CandidateComparison(
        evaluation=candidate,
        drops=tuple(drops),
        agreement=1 - float(changed.mean()),
        lost=float((ours & ~theirs).mean()),
        gained=float((theirs & ~ours).mean()),
        classes=_class_deltas(reference, candidate),
        images=tuple(sorted(flips, key=lambda flip: flip.rank)),
        transitions=None,
    )


def _segmentation(
    measurement: Measurement,
    tally: SegmentationTally,
    reference: Evaluation,
    candidate: Evaluation,
    net: int,
    resamples: int,
    seed: int,
) -> CandidateComparison:
    parts = (tally.labelled, tally.hits[0], tally.answered[0], tally.hits[net], tally.answered[net])
    rows = np.concatenate(parts, axis=1)
    drops = (
        _drop("mIoU", rows, _miou_drop, resamples, seed),
        _drop("pixel accuracy", rows, _pixel_drop, resamples, seed),
    )
    pixels, judged = np.maximum(1, tally.pixels), np.maximum(1, tally.labelled.sum(axis=1))
    ours, theirs = tally.image_miou(0), tally.image_miou(net)
    images = [
        ChangedImage(
            name=sample.name,
            path=sample.path,
            label_path=Path(str(sample.label)),
            changed=float(tally.changed[net, index] / pixels[index]),
            lost=float(tally.lost[net, index] / judged[index]),
            gained=float(tally.gained[net, index] / judged[index]),
            reference_miou=float(ours[index]),
            candidate_miou=float(theirs[index]),
            transitions=tally.most_moved(net, index),
        )
        for index, sample in enumerate(measurement.dataset.samples)
        if tally.changed[net, index]
    ]
    return CandidateComparison(
        evaluation=candidate,
        drops=drops,
        agreement=1 - float(tally.changed[net].sum() / max(1, tally.pixels.sum())),
        lost=float(tally.lost[net].sum() / max(1, tally.labelled.sum())),
        gained=float(tally.gained[net].sum() / max(1, tally.labelled.sum())),
        classes=_class_deltas(reference, candidate),
        images=tuple(sorted(images, key=lambda image: image.rank)),
        transitions=tally.transitions[net].copy(),
    )


def _drop(
    name: str,
    rows: NDArray[np.integer],
    figure: Figure,
    resamples: int,
    seed: int,
) -> Drop:
    interval = paired_interval(rows, figure, resamples=resamples, seed=seed)
    points = float(figure(rows.sum(axis=0, keepdims=True).astype(np.float64))[0])
    low, high = (None, None) if interval is None else interval
    return Drop(name=name, points=points, low=low, high=high)


def _share_drop(images: int) -> Figure:
    def drop(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(100 * (sums[:, 0] - sums[:, 1]) / images, np.float64)

    return drop


def _miou_drop(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    labelled, *rest = np.split(sums, 5, axis=1)
    return 100 * (mean_labelled(labelled, rest[0], rest[1]) - mean_labelled(labelled, rest[2], rest[3]))


def _pixel_drop(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    labelled, ours, _, theirs, _ = np.split(sums, 5, axis=1)
    judged = np.maximum(1, labelled.sum(axis=1))
    return np.asarray(100 * (ours.sum(axis=1) - theirs.sum(axis=1)) / judged, np.float64)


def _class_deltas(reference: Evaluation, candidate: Evaluation) -> tuple[ClassDelta, ...]:
    ours, theirs = reference.metrics.class_values, candidate.metrics.class_values
    return tuple(
        ClassDelta(
            index=index,
            name=name,
            support=int(support),
            reference=None if np.isnan(ours[index]) else float(ours[index]),
            candidate=None if np.isnan(theirs[index]) else float(theirs[index]),
        )
        for index, (name, support) in enumerate(zip(reference.classes, reference.metrics.support, strict=True))
    )
