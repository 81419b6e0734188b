"""One run over a dataset: every image through every model, counted."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hrnet_deploy.engines.remote.address import is_url
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.accumulators import Accumulator, ClassificationAccumulator, SegmentationAccumulator
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.datasets.find_dataset import find_dataset
from hrnet_deploy.evaluation.journal import Journal
from hrnet_deploy.evaluation.loaded_model import LoadedModel, check_comparable
from hrnet_deploy.evaluation.model_runner import ModelRunner
from hrnet_deploy.evaluation.run_info import DataInfo, EvaluatedModel, RunInfo
from hrnet_deploy.evaluation.sliding_window import OVERLAP, SlidingWindow
from hrnet_deploy.evaluation.streaming import InferenceTimer, stream
from hrnet_deploy.spec import Task
from hrnet_deploy.system.cores import cores
from hrnet_deploy.system.progress import bar
from hrnet_deploy.version import VERSION

_LOG = logging.getLogger(__name__)
_MAX_WORKERS = 8
_MAX_NAMED_CLASSES = 5


@dataclass(frozen=True)
class Settings:
    """Settings of a run; see `evaluate`."""

    batch: int = 1
    workers: int | None = None
    window: tuple[int, int] | None = None
    overlap: float = OVERLAP
    journal: str | Path | None = None

    @functools.cached_property
    def sliding(self) -> SlidingWindow | None:
        """Windows over images at their own size; None to resize images to the model's size."""
        return None if self.window is None else SlidingWindow.with_overlap(self.window, self.overlap)

    def __post_init__(self) -> None:
        _ = self.sliding  # an invalid window is an error before any model is opened
        for name in ("batch", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}. Leave it out for the default.")


@dataclass(frozen=True)
class DataOptions:
    """The selection of images and the meaning of their labels; see `evaluate`."""

    labels: str | Path | None = None
    split: str | None = None
    limit: int | None = None
    label_values: Sequence[int] | None = None
    ignore_label: int | None = None


@dataclass(frozen=True, eq=False)
class Measurement:
    """The result of a run.

    Attributes:
        inference_s: seconds inside each model's graph in this run.
    """

    models: tuple[EvaluatedModel, ...]
    dataset: Dataset
    data: DataInfo
    run: RunInfo
    inference_s: tuple[float, ...]
    counts: Accumulator


def dataset_for(models: Sequence[LoadedModel], data: str | Path | Dataset, options: DataOptions) -> Dataset:
    """Find the images and check that they suit every model.

    Args:
        models: the reference first.
        data: folder, label file, or a dataset.
        options: the selection of images and the meaning of their labels.

    Returns:
        The dataset.

    Raises:
        UsageError: models of different tasks or classes, or a dataset of another task or number of classes.
        HrnetDeployError: as `find_dataset`.
    """
    reference = models[0].info
    for model in models[1:]:
        check_comparable(reference, model.info)
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
            f" {dataset.task.value} with {dataset.classes}. Use a dataset of the model's own classes."
        )
    return dataset.limited(options.limit)


def measure(models: Sequence[LoadedModel], dataset: Dataset, settings: Settings) -> Measurement:
    """Run every model on every image.

    Args:
        models: of one task and the same classes; the reference first.
        dataset: labeled images.
        settings: of the run.

    Returns:
        The counts. They depend on models, images and windows, not on batch, workers or interruptions.

    Raises:
        UsageError: windows that do not suit a model, a journal for a model without a file or one that cannot be
            written, or labels without a labeled pixel.
        ImageError: an image or a label that cannot be used.
        MissingFileError: a file of the dataset is missing.
        DeviceError: the runtime failed.
    """
    runners = [ModelRunner(each.model, settings.sliding) for each in models]
    workers = settings.workers or max(2, min(_MAX_WORKERS, cores()))
    kind = SegmentationAccumulator if dataset.task is Task.SEGMENTATION else ClassificationAccumulator
    counts: Accumulator = kind(dataset, len(runners))
    timer = InferenceTimer([0.0] * len(runners))
    journal = None if settings.journal is None else _journal(Path(settings.journal), settings.sliding, models, dataset)
    start = time.perf_counter()
    resumed = _accumulate(runners, dataset, counts, timer, journal, batch=settings.batch, workers=workers)
    if isinstance(counts, SegmentationAccumulator):
        _check_labels(counts, models[0].info.card.classes, dataset)
    return Measurement(
        models=tuple(each.info for each in models),
        dataset=dataset,
        data=DataInfo(
            root=dataset.root,
            layout=dataset.layout,
            images=len(dataset),
            total=dataset.total,
            digest=counts.content_digest(),
        ),
        run=RunInfo(
            batch=settings.batch,
            workers=workers,
            sliding=settings.sliding,
            seconds=time.perf_counter() - start,
            computed=timer.images,
            resumed=resumed,
        ),
        inference_s=tuple(timer.inference_s),
        counts=counts,
    )


def _accumulate(
    runners: Sequence[ModelRunner],
    dataset: Dataset,
    counts: Accumulator,
    timer: InferenceTimer,
    journal: Journal | None,
    *,
    batch: int,
    workers: int,
) -> int:
    """Add the journal's records, then run the models on the other images; return the number of journal records."""
    for record in journal.read(len(dataset), len(runners), dataset.classes) if journal else ():
        counts.add(record)
    resumed = int(counts.done.sum())
    remaining = np.flatnonzero(~counts.done).tolist()
    with contextlib.ExitStack() as stack:
        if journal is not None:
            stack.callback(journal.close)
            journal.open()
        progress = stack.enter_context(bar(total=len(dataset), initial=resumed, unit="image", desc="evaluate"))
        records = stream(runners, dataset, remaining, timer, batch=batch, workers=workers)
        for record in stack.enter_context(contextlib.closing(records)):
            counts.add(record)
            if journal is not None:
                journal.write(record)
            progress.set_postfix_str(counts.progress_text(), refresh=False)
            progress.update()
    return resumed


def _check_labels(counts: SegmentationAccumulator, classes: Sequence[str], dataset: Dataset) -> None:
    """Refuse labels without a labeled pixel, and warn about classes that never occur."""
    if not counts.labeled.any():
        raise UsageError(
            f"labels must judge some pixels, got only ignored ones in {dataset.root}. Use a split with public labels;"
            " those of Cityscapes' test split are blank."
        )
    absent = [classes[index] for index in np.flatnonzero(counts.labeled.sum(axis=0) == 0).tolist()]
    if absent:
        _LOG.warning(
            "%d of %d classes never occur in the labels below %s and do not count: %s",
            len(absent),
            len(classes),
            dataset.root,
            ", ".join(absent[:_MAX_NAMED_CLASSES]) + (", ..." if len(absent) > _MAX_NAMED_CLASSES else ""),
        )


def _journal(
    folder: Path, sliding: SlidingWindow | None, models: Sequence[LoadedModel], dataset: Dataset
) -> Journal | None:
    """Open the journal; None for a server that does not report what it serves, which may change between runs."""
    unknown = [each.info.name for each in models if not each.info.sha256]
    without_file = next((name for name in unknown if not is_url(name)), None)
    if without_file is not None:
        raise UsageError(f"a journal needs artifacts as files, got {without_file} as an object. Pass its path.")
    if unknown:
        _LOG.warning("an interrupted run cannot resume, because %s does not report its SHA-256", unknown[0])
        return None
    key = {
        "version": VERSION,
        "models": [[each.info.sha256, each.info.device, each.info.backend, each.info.arithmetic] for each in models],
        "data": dataset.listing_digest(),
        "sliding": None if sliding is None else [sliding.window_hw, sliding.stride_hw],
    }
    return Journal(folder, key)
