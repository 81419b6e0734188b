"""One run over a data set: models opened, images streamed, what was done before taken from the journal."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.accumulators import ClassificationTally, SegmentationTally, Tally
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.datasets.find_dataset import find_dataset
from hrnet_deploy.evaluation.image_record import Record
from hrnet_deploy.evaluation.journal import Journal
from hrnet_deploy.evaluation.model_runner import Model, ModelRunner
from hrnet_deploy.evaluation.run_info import DataFacts, ModelFacts, RunFacts
from hrnet_deploy.evaluation.sliding_window import Sliding
from hrnet_deploy.evaluation.streaming import InferenceTimer, stream
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.spec import Task
from hrnet_deploy.system.cores import cores
from hrnet_deploy.system.progress import bar
from hrnet_deploy.version import VERSION

_LOG = logging.getLogger(__name__)
_MOST_WORKERS = 8
_NAMED = 5
"""Absent classes that a warning names."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run.

    Attributes:
        batch: images per inference.
        workers: threads that read and count; None to suit the machine.
        sliding: windows over pictures at their own size; None to bring pictures to the model's size.
        journal: folder of journals; None for no journal.
    """

    batch: int = 1
    workers: int | None = None
    sliding: Sliding | None = None
    journal: Path | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}. Leave it out for the default.")


@dataclass(frozen=True)
class DataOptions:
    """Which images of a folder, and what their labels mean; see `evaluate`.

    Attributes:
        labels: label file for a folder of photos.
        split: folder to use where there are several.
        limit: number of images.
        label_values: value of each class in label images.
        ignore_label: their value that is not judged.
    """

    labels: str | Path | None = None
    split: str | None = None
    limit: int | None = None
    label_values: Sequence[int] | None = None
    ignore_label: int | None = None


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a run found.

    Attributes:
        models: the nets, in order.
        dataset: the images.
        data: the same, for the report.
        run: how it went.
        inference_s: seconds inside each net's graph in this run.
        tally: the counts.
    """

    models: tuple[ModelFacts, ...]
    dataset: Dataset
    data: DataFacts
    run: RunFacts
    inference_s: tuple[float, ...]
    tally: Tally


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model and where it came from.

    Attributes:
        model: ready to run.
        facts: its provenance.
    """

    model: Model
    facts: ModelFacts


@contextlib.contextmanager
def opened(
    models: Sequence[str | Path | Model],
    *,
    device: str,
    backend: str,
    threads: int | None,
    streams: int | None = None,
) -> Iterator[tuple[LoadedModel, ...]]:
    """Open artefacts, and close again those that were files.

    Args:
        models: paths or models.
        device: for paths, as for Predictor.
        backend: for paths, as for Predictor.
        threads: for paths, as for Predictor.
        streams: for paths, as for Predictor; the most images a second unless 1 is asked for, to time single ones.

    Yields:
        The models in order.

    Raises:
        HrnetDeployError: as Predictor.
    """
    with contextlib.ExitStack() as stack:
        found = []
        for model in models:
            if not isinstance(model, (str, Path)):
                found.append(LoadedModel(model, _facts(model, None)))
                continue
            predictor = stack.enter_context(
                Predictor(model, device=device, backend=backend, threads=threads, streams=streams)
            )
            found.append(LoadedModel(predictor, _facts(predictor, Path(model))))
        yield tuple(found)


def dataset_for(
    models: Sequence[LoadedModel],
    data: str | Path | Dataset,
    options: DataOptions,
) -> Dataset:
    """Find the images and see that they suit every model.

    Args:
        models: the reference first.
        data: folder, label file, or a data set.
        options: which of them, and what their labels mean.

    Returns:
        The data set.

    Raises:
        UsageError: models of different tasks or classes, or a data set of another task or number of classes.
        HrnetDeployError: as `find_dataset`.
    """
    reference = models[0].facts
    for other in (model.facts for model in models[1:]):
        _check_alike(reference, other)
    card = reference.card
    if isinstance(data, Dataset):
        dataset = data
    else:
        dataset = find_dataset(
            data,
            card,
            labels=options.labels,
            split=options.split,
            label_values=options.label_values,
            ignore_label=options.ignore_label,
        )
    if (dataset.task, dataset.classes) != (card.task, len(card.classes)):
        raise UsageError(
            f"evaluation data must be for {card.task.value} with {len(card.classes)} classes as {reference.name}, got"
            f" {dataset.task.value} with {dataset.classes}. Use a data set of the model's own classes."
        )
    return dataset.limited(options.limit)


def measure(models: Sequence[LoadedModel], dataset: Dataset, settings: Settings) -> Measurement:
    """Answer every image with every model.

    Args:
        models: of one task and the same classes; the reference first.
        dataset: labelled images.
        settings: how to run.

    Returns:
        The counts. They depend on models, images and windows, not on batch, workers or interruptions.

    Raises:
        UsageError: windows that do not suit a model, a journal for a model without a file or not to be written, or
            labels without a judged pixel.
        ImageError: an image or a label that cannot be used.
        MissingFileError: a file of the data set is gone.
        DeviceError: the runtime failed.
    """
    networks = [ModelRunner(each.model, settings.sliding) for each in models]
    workers = settings.workers or max(2, min(_MOST_WORKERS, cores()))
    kind = SegmentationTally if dataset.task is Task.SEGMENTATION else ClassificationTally
    tally: Tally = kind(dataset, len(networks))
    clock = InferenceTimer([0.0] * len(networks))
    journal = None if settings.journal is None else _journal(settings, models, dataset)
    began = time.perf_counter()
    for record in journal.read(len(dataset), len(networks), dataset.classes) if journal else ():
        tally.add(record)
    resumed = int(tally.done.sum())
    left = np.flatnonzero(~tally.done).tolist()
    with contextlib.ExitStack() as stack:
        if journal is not None:
            stack.callback(journal.close)
            journal.open()
        progress = stack.enter_context(bar(total=len(dataset), initial=resumed, unit="image", desc="evaluate"))
        records = stack.enter_context(
            contextlib.closing(stream(networks, dataset, left, clock, batch=settings.batch, workers=workers))
        )
        for record in records:
            _take(record, tally, journal)
            progress.set_postfix_str(tally.running(), refresh=False)
            progress.update()
    if isinstance(tally, SegmentationTally) and not tally.labelled.any():
        raise UsageError(
            f"labels must judge some pixels, got only ignored ones in {dataset.root}. Use a split with public labels;"
            " those of Cityscapes' test split are blank."
        )
    if isinstance(tally, SegmentationTally):
        _warn_of_absent(tally, models[0].facts.card.classes, dataset)
    return Measurement(
        models=tuple(each.facts for each in models),
        dataset=dataset,
        data=DataFacts(
            root=dataset.root,
            layout=dataset.layout,
            images=len(dataset),
            total=dataset.total,
            digest=tally.content_digest(),
        ),
        run=RunFacts(
            batch=settings.batch,
            workers=workers,
            sliding=settings.sliding,
            seconds=time.perf_counter() - began,
            computed=clock.images,
            resumed=resumed,
        ),
        inference_s=tuple(clock.inference_s),
        tally=tally,
    )


def _warn_of_absent(tally: SegmentationTally, classes: Sequence[str], dataset: Dataset) -> None:
    absent = [classes[index] for index in np.flatnonzero(tally.labelled.sum(axis=0) == 0).tolist()]
    if absent:
        _LOG.warning(
            "%d of %d classes never occur in the labels below %s and do not count: %s",
            len(absent),
            len(classes),
            dataset.root,
            ", ".join(absent[:_NAMED]) + (", ..." if len(absent) > _NAMED else ""),
        )


def _take(record: Record, tally: Tally, journal: Journal | None) -> None:
    tally.add(record)
    if journal is not None:
        journal.write(record)


def _facts(model: Model, path: Path | None) -> ModelFacts:
    return ModelFacts(
        name=model.card.variant if path is None else path.name,
        path=path,
        sha256="" if path is None else sha256_file(path),
        size_bytes=0 if path is None else path.stat().st_size,
        card=model.card,
        device=model.device,
        backend=str(getattr(model, "backend", "")),
        arithmetic=str(getattr(model, "arithmetic", "")),
    )


def _check_alike(reference: ModelFacts, other: ModelFacts) -> None:
    ours, theirs = reference.card, other.card
    if ours.task is not theirs.task:
        raise UsageError(
            f"candidate {other.name} must do {ours.task.value} as the reference {reference.name}, got"
            f" {theirs.task.value}. Compare models of one task."
        )
    if len(ours.classes) != len(theirs.classes):
        raise UsageError(
            f"candidate {other.name} must have the {len(ours.classes)} classes of the reference {reference.name}, got"
            f" {len(theirs.classes)}. Compare models of the same classes."
        )
    for index, (our, their) in enumerate(zip(ours.classes, theirs.classes, strict=True)):
        if our != their:
            raise UsageError(
                f"candidate {other.name} must have the classes of the reference {reference.name}, got '{their}' for"
                f" '{our}' at index {index}. Export both with the same --classes."
            )


def _journal(settings: Settings, models: Sequence[LoadedModel], dataset: Dataset) -> Journal:
    nameless = next((each.facts.name for each in models if not each.facts.sha256), None)
    if nameless is not None or settings.journal is None:
        raise UsageError(f"a journal needs artefacts as files, got {nameless} as an object. Pass its path.")
    sliding = settings.sliding
    facts = {
        "version": VERSION,
        "models": [
            [each.facts.sha256, each.facts.device, each.facts.backend, each.facts.arithmetic] for each in models
        ],
        "data": dataset.listing_digest(),
        "sliding": None if sliding is None else [sliding.window_hw, sliding.stride_hw],
    }
    return Journal(settings.journal, facts)
