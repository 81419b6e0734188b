"""Measure, compare, time and take pictures: a report from artefacts and images."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.benchmark.timing import LONGEST_WARM_UP_S, Call, Latency, time_interleaved, warm_up
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.compare import comparison_of
from hrnet_deploy.evaluation.comparison import CandidateComparison, Comparison, LabelChange
from hrnet_deploy.evaluation.datasets.cityscapes import read_label
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.loaded_model import open_models
from hrnet_deploy.evaluation.model_runner import InputRows, Model, ModelRunner
from hrnet_deploy.evaluation.run import DataOptions, Settings, dataset_for, measure
from hrnet_deploy.evaluation.sliding_window import OVERLAP
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.report.content import Report, Row
from hrnet_deploy.report.numbers import visible
from hrnet_deploy.report.pictures import Exhibit, flip_exhibit, mask_exhibit
from hrnet_deploy.report.standing import pairs, standing
from hrnet_deploy.report.waterfall import Step
from hrnet_deploy.system.load_snapshot import look

SECONDS = 5.0
"""Timing of one artefact takes about as long."""
_LONGEST_S = 3600
_TIMED_IMAGES = 8
_FLIPS = 12
_MASKS = 3
_ALIKE = 0.999
_LETTERS = "ABCDEFGHIJKLMNOPQSTUVWXYZ"  # R is the reference


def make_report(
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
    photos: bool = True,
    seconds: float = SECONDS,
    command: str = "",
    waterfall: Sequence[Step] = (),
) -> Report:
    """Find out what candidates lose against a reference and what they gain.

    Args:
        reference: path of an artefact, or a Predictor.
        candidates: the same, at least one.
        data: as for `evaluate`.
        labels: as for `evaluate`.
        split: as for `evaluate`.
        limit: as for `evaluate`.
        label_values: as for `evaluate`.
        ignore_label: as for `evaluate`.
        batch: as for `evaluate`; times are of single images all the same.
        workers: as for `evaluate`.
        window: as for `evaluate`.
        overlap: as for `evaluate`.
        device: as for `evaluate`.
        backend: as for `evaluate`.
        threads: as for `evaluate`.
        journal: as for `evaluate`.
        photos: show the images themselves; False where they may not be passed on, masks are then shown alone.
        seconds: to spend on timing each artefact, above 0.
        command: the command line, for the provenance.
        waterfall: steps from the checkpoint to the artefacts, measured on the same data; empty for none.

    Returns:
        The report, ready for `write_report`.

    Raises:
        UsageError: no candidate or too many, or no time; models of different tasks or classes; labels that do not suit.
        HrnetDeployError: as for `evaluate`.
    """
    if not 1 <= len(candidates) <= len(_LETTERS):
        raise UsageError(
            f"a report needs 1 to {len(_LETTERS)} candidates beside the reference, got {len(candidates)}. Name them."
        )
    if not 0 < seconds <= _LONGEST_S:
        raise UsageError(
            f"seconds must be above 0 and at most {_LONGEST_S}, got {seconds}. The default is {SECONDS:g}."
        )
    settings = Settings(batch, workers, window, overlap, journal)
    compared = [reference, *candidates]
    with open_models(compared, device=device, backend=backend, threads=threads) as models:
        machine = look(gpu=False)  # before the work, so that its load is that of others
        dataset = dataset_for(models, data, DataOptions(labels, split, limit, label_values, ignore_label))
        comparison = comparison_of(measure(models, dataset, settings))
    with open_models(compared, device=device, backend=backend, threads=threads, streams=1) as models:
        networks = [ModelRunner(each.model, settings.sliding) for each in models]
        latencies = _latencies(networks, _timed_images(dataset), seconds)
        if any(each.info.device != "cpu" for each in models):
            machine = dataclasses.replace(machine, gpus=look().gpus)  # a GPU at rest lowers its clock
        exhibits = [
            _exhibits(contrast, networks, place, dataset, photos=photos)
            for place, contrast in enumerate(comparison.candidates, start=1)
        ]
    rows = _rows(comparison, latencies, exhibits)
    return Report(
        comparison=comparison,
        rows=rows,
        pairs=pairs([row.model for row in rows], [row.evaluation.metrics.value for row in rows]),
        machine=machine,
        command=command,
        created=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        waterfall=tuple(waterfall),
    )


def _rows(
    comparison: Comparison, latencies: Sequence[Latency], exhibits: Sequence[tuple[Exhibit, ...]]
) -> tuple[Row, ...]:
    contrasts: list[CandidateComparison | None] = [None, *comparison.candidates]
    evaluations = [comparison.reference, *(contrast.evaluation for contrast in comparison.candidates)]
    labels = row_labels([Path(e.model.name) if e.model.path is None else e.model.path for e in evaluations])
    return tuple(
        Row(
            letter=letter,
            label=label,
            evaluation=evaluation,
            contrast=contrast,
            latency=latency,
            standing=standing(evaluation.model),
            exhibits=shown,
        )
        for letter, label, evaluation, contrast, latency, shown in zip(
            "R" + _LETTERS, labels, evaluations, contrasts, latencies, [(), *exhibits], strict=False
        )
    )


def row_labels(paths: Sequence[Path]) -> list[str]:
    """A name of its own for each artefact.

    Args:
        paths: of the artefacts.

    Returns:
        File names; where two are alike, with as many folders as tell them apart, and a number for the same file twice.
    """
    names: list[str] = []
    for path in paths:
        depth = 1
        while depth < len(path.parts) and sum(other.parts[-depth:] == path.parts[-depth:] for other in paths) > 1:
            depth += 1
        alone = sum(other == path for other in paths) == 1
        name = visible(Path(*path.parts[-(depth if alone else 1) :]).as_posix())
        number = 2
        label = name
        while label in names:
            label, number = f"{name} #{number}", number + 1
        names.append(label)
    return names


def _timed_images(dataset: Dataset) -> list[NDArray[np.uint8]]:
    return [read_frame(str(sample.path)).image for sample in dataset.limited(_TIMED_IMAGES).samples]


def _latencies(networks: Sequence[ModelRunner], images: Sequence[NDArray[np.uint8]], seconds: float) -> list[Latency]:
    """One image at a time, the nets in turns; each begins with the first image, for they may be of several sizes."""
    rows = [[network.prepare(image) for image in images] for network in networks]
    limit = min(LONGEST_WARM_UP_S, 2 * seconds)
    warm = [warm_up(_call(*each), limit_s=limit) for each in zip(networks, rows, strict=True)]
    calls = [_call(*each) for each in zip(networks, rows, strict=True)]
    return [Latency.of(found) for found in time_interleaved(calls, seconds=seconds, warm_ups=warm, single_calls=True)]


def _call(network: ModelRunner, pictures: Sequence[InputRows]) -> Call:
    left = itertools.cycle(pictures)
    return lambda: network.run([next(left)], 1)


def _exhibits(
    contrast: CandidateComparison, networks: Sequence[ModelRunner], place: int, dataset: Dataset, *, photos: bool
) -> tuple[Exhibit, ...]:
    flips = [image for image in contrast.images[:_FLIPS] if isinstance(image, LabelChange)]
    scenes = [image for image in contrast.images if not isinstance(image, LabelChange)]
    # Of a net that all but equals the reference one scene shows as much as many.
    masks = scenes[: _MASKS if contrast.agreement < _ALIKE else 1]
    return (
        *(flip_exhibit(flip, photos=photos) for flip in flips),
        *(
            mask_exhibit(
                image,
                networks[0],
                networks[place],
                read_label(image.label_path, dataset.classes, dataset.label_ids),
                photos=photos,
            )
            for image in masks
        ),
    )
