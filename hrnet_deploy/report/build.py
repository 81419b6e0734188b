"""Build a report: evaluate, compare and time the artifacts, and draw the images that changed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.benchmark.timing import LONGEST_WARM_UP_S, Call, Latency, time_interleaved, warm_up
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.compare import comparison_of
from hrnet_deploy.evaluation.comparison import CandidateComparison, Comparison, LabelChange
from hrnet_deploy.evaluation.datasets.cityscapes import read_label
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.feature_similarity import compare_features
from hrnet_deploy.evaluation.loaded_model import Artifact, open_models
from hrnet_deploy.evaluation.model_runner import InputRows, Model, ModelRunner
from hrnet_deploy.evaluation.options import EvaluationKeywords, EvaluationOptions
from hrnet_deploy.evaluation.run import measure_all
from hrnet_deploy.evaluation.runtime_status import prediction_pairs, runtime_status
from hrnet_deploy.evaluation.waterfall_result import WaterfallStep
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.report.report import Report, Row
from hrnet_deploy.report.thumbnails import ExampleImage, flip_example, mask_example
from hrnet_deploy.system.load_snapshot import GpuState, take_snapshot
from hrnet_deploy.system.text_table import visible

if TYPE_CHECKING:
    from typing_extensions import Unpack

SECONDS = 5.0
"""Approximate time for timing one artifact."""
_MAX_SECONDS = 3600
_TIMED_IMAGES = 8
_MAX_FLIPS = 12
_MAX_MASKS = 3
_NEARLY_EQUAL = 0.999
_LETTERS = "ABCDEFGHIJKLMNOPQSTUVWXYZ"  # R is the reference


def build_report(
    reference: Artifact | Model,
    candidates: Sequence[Artifact | Model],
    data: str | Path | Dataset,
    *,
    photos: bool = True,
    seconds: float = SECONDS,
    command: str = "",
    waterfall: Sequence[WaterfallStep] = (),
    **options: Unpack[EvaluationKeywords],
) -> Report:
    """Measure what candidates lose against a reference and what they gain.

    Args:
        reference: Path or URL of an artifact, or a Predictor.
        candidates: At least one path, URL or Predictor.
        data: Labeled images, as for `evaluate`.
        photos: Show the images themselves; False shows masks alone.
        seconds: Time for timing each artifact.
        command: Command line for the provenance.
        waterfall: Steps from the checkpoint to the artifacts, measured on the same data.
        options: Fields of `EvaluationOptions`; times are always for one image.

    Returns:
        The report, ready for `write_report`.

    Raises:
        HrnetDeployError: The number of candidates or `seconds` is out of range; else as for `evaluate`.
    """
    count, most = len(candidates), len(_LETTERS)
    if not 1 <= count <= most:
        raise UsageError(f"a report needs 1 to {most} candidates beside the reference, got {count}. Name them.")
    if not 0 < seconds <= _MAX_SECONDS:
        limits = f"above 0 and at most {_MAX_SECONDS}"
        raise UsageError(f"seconds must be {limits}, got {seconds}. The default is {SECONDS:g}.")
    models, settings = [reference, *candidates], EvaluationOptions(**options)
    machine = take_snapshot(gpu=False)  # before the run, so that the load is that of other processes
    measurement = measure_all(models, data, settings)
    comparison = comparison_of(measurement)
    rows, gpus = _build_rows(models, measurement.dataset, comparison, settings, seconds=seconds, photos=photos)
    return Report(
        comparison=comparison,
        rows=rows,
        pairs=prediction_pairs([row.model for row in rows], [row.value for row in rows]),
        machine=dataclasses.replace(machine, gpus=gpus),
        command=command,
        created=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        waterfall=tuple(waterfall),
    )


def _build_rows(
    models: Sequence[Artifact | Model],
    dataset: Dataset,
    comparison: Comparison,
    settings: EvaluationOptions,
    *,
    seconds: float,
    photos: bool,
) -> tuple[tuple[Row, ...], tuple[GpuState, ...]]:
    """Time the models and draw the worst images; return the GPUs too, right after the work: idle ones clock lower."""
    comparisons: list[CandidateComparison | None] = [None, *comparison.candidates]
    evaluations = [comparison.reference, *(each.evaluation for each in comparison.candidates)]
    labels = row_labels([each.model.path or Path(each.model.name) for each in evaluations])
    device, backend, threads = settings.device, settings.backend, settings.threads
    with open_models(models, device=device, backend=backend, threads=threads, streams=1) as loaded:
        networks = [ModelRunner(each.model, settings.sliding) for each in loaded]
        latencies = _measure_latencies(networks, dataset, seconds)
        gpus = take_snapshot().gpus if any(each.info.device != "cpu" for each in loaded) else ()
        examples = [
            _pick_examples(own, (networks[0], network), dataset, photos=photos)
            for own, network in zip(comparisons, networks, strict=True)
        ]
        features = compare_features(networks, dataset) if settings.sliding is None else [{}] * len(networks)
    columns = zip("R" + _LETTERS, labels, evaluations, comparisons, latencies, examples, features, strict=False)
    rows = (
        Row(
            letter=letter,
            label=label,
            evaluation=evaluation,
            comparison=own,
            latency=latency,
            runtime_status=runtime_status(evaluation.model),
            examples=shown,
            features=similar,
        )
        for letter, label, evaluation, own, latency, shown, similar in columns
    )
    return tuple(rows), gpus


def row_labels(paths: Sequence[Path]) -> list[str]:
    """Return file names with as many folders as make them unique; a file given twice gets a number."""
    labels: list[str] = []
    for path in paths:
        depth = 1
        while depth < len(path.parts) and sum(other.parts[-depth:] == path.parts[-depth:] for other in paths) > 1:
            depth += 1
        unique = sum(other == path for other in paths) == 1
        name = visible(Path(*path.parts[-(depth if unique else 1) :]).as_posix())
        numbered = (f"{name} #{number}" for number in itertools.count(2))
        labels.append(next(label for label in itertools.chain([name], numbered) if label not in labels))
    return labels


def _measure_latencies(networks: Sequence[ModelRunner], dataset: Dataset, seconds: float) -> list[Latency]:
    """Time single images, the models in turn; each model starts with the first image, since sizes may differ."""
    samples = dataset.limited(_TIMED_IMAGES).samples
    images: list[NDArray[np.uint8]] = [read_frame(str(sample.path)).image for sample in samples]
    inputs = [[network.prepare(image) for image in images] for network in networks]
    limit = min(LONGEST_WARM_UP_S, 2 * seconds)
    warm = [warm_up(_make_call(*each), limit_s=limit) for each in zip(networks, inputs, strict=True)]
    calls = [_make_call(*each) for each in zip(networks, inputs, strict=True)]
    return [Latency.of(times) for times in time_interleaved(calls, seconds=seconds, warm_ups=warm, single_calls=True)]


def _make_call(network: ModelRunner, inputs: Sequence[InputRows]) -> Call:
    upcoming = itertools.cycle(inputs)
    return lambda: network.run([next(upcoming)], 1)


def _pick_examples(
    comparison: CandidateComparison | None, networks: Sequence[ModelRunner], dataset: Dataset, *, photos: bool
) -> tuple[ExampleImage, ...]:
    """Draw the worst images; one scene is enough for a candidate that nearly equals the reference."""
    if comparison is None:
        return ()
    flips = [image for image in comparison.images[:_MAX_FLIPS] if isinstance(image, LabelChange)]
    scenes = [image for image in comparison.images if not isinstance(image, LabelChange)]
    examples = [flip_example(flip, photos=photos) for flip in flips]
    for scene in scenes[: _MAX_MASKS if comparison.agreement < _NEARLY_EQUAL else 1]:
        label = read_label(scene.label_path, dataset.classes, dataset.label_ids)
        examples.append(mask_example(scene, networks, label, photos=photos))
    return tuple(examples)
