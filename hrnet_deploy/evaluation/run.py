"""One run over a dataset: every image through every model, counted."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hrnet_deploy.engines.remote.address import is_url
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.accumulators import Accumulator, ClassificationAccumulator, SegmentationAccumulator
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.datasets.find_dataset import find_dataset
from hrnet_deploy.evaluation.distribute import distribute, make_task
from hrnet_deploy.evaluation.image_record import ImageRecord
from hrnet_deploy.evaluation.journal import Journal
from hrnet_deploy.evaluation.loaded_model import Artifact, LoadedModel, check_comparable, open_models
from hrnet_deploy.evaluation.model_runner import Model, ModelRunner
from hrnet_deploy.evaluation.options import EvaluationOptions
from hrnet_deploy.evaluation.run_info import DataInfo, EvaluatedModel, RunInfo
from hrnet_deploy.evaluation.streaming import InferenceTimer, reading_threads, stream
from hrnet_deploy.executors import open_executor
from hrnet_deploy.spec import Task
from hrnet_deploy.system.progress import bar
from hrnet_deploy.version import VERSION

_LOG = logging.getLogger(__name__)
_MAX_NAMED_CLASSES = 5
_RunImages = Callable[[Sequence[int]], Generator[ImageRecord, None, None]]
"""Evaluates the images at these positions; records may come in any order."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """The result of a run; its counts depend on models, images and windows, not on where and how they ran."""

    models: tuple[EvaluatedModel, ...]
    dataset: Dataset
    data: DataInfo
    run: RunInfo
    inference_s: tuple[float, ...]
    counts: Accumulator


def measure_all(
    models: Sequence[Artifact | Model], data: str | Path | Dataset, options: EvaluationOptions
) -> Measurement:
    """Open models, the reference first, find the images, and run every model on every image.

    Raises:
        HrnetDeployError: models, images, labels, windows or a journal that cannot be used.
    """
    device, backend, threads = options.device, options.backend, options.threads
    with contextlib.ExitStack() as stack:
        executor = stack.enter_context(open_executor(options.executor, threads=threads))
        opened = stack.enter_context(contextlib.ExitStack())
        streams = None if executor is None else 1
        loaded = opened.enter_context(
            open_models(models, device=device, backend=backend, threads=threads, streams=streams)
        )
        dataset = dataset_for(loaded, data, options)
        runners = [ModelRunner(each.model, options.sliding) for each in loaded]
        kind = SegmentationAccumulator if dataset.task is Task.SEGMENTATION else ClassificationAccumulator
        counts: Accumulator = kind(dataset, len(runners))
        infos = tuple(each.info for each in loaded)
        timer = InferenceTimer([0.0] * len(runners))
        journal = _journal(infos, dataset, options)
        if executor is None:
            workers = options.workers or reading_threads(None)
            run_images: _RunImages = functools.partial(
                stream, runners, dataset, timer=timer, batch=options.batch, workers=workers
            )
        else:
            task = make_task(infos, dataset, options)
            run_images = functools.partial(distribute, executor, task, dataset, timer=timer)
            opened.close()  # the workers open their own
        run = _accumulate(run_images, dataset, counts, timer, journal, options)
    if isinstance(counts, SegmentationAccumulator):
        _check_labels(counts, infos[0].card.classes, dataset)
    digest = counts.content_digest()
    found = DataInfo(root=dataset.root, layout=dataset.layout, images=len(dataset), total=dataset.total, digest=digest)
    return Measurement(infos, dataset, found, run, tuple(timer.inference_s), counts)


def dataset_for(models: Sequence[LoadedModel], data: str | Path | Dataset, options: EvaluationOptions) -> Dataset:
    """Find the images in a folder, a label file or a dataset, and check that they suit every model.

    Raises:
        UsageError: models of different tasks or classes, or a dataset of another task or number of classes.
        HrnetDeployError: as `find_dataset`.
    """
    reference = models[0].info
    for model in models:
        if model.info.card.headless:
            raise UsageError(
                f"evaluation needs models with a head, got {model.info.name} with features only. Export it with one."
            )
    for model in models[1:]:
        check_comparable(reference, model.info)
    card = reference.card
    if not isinstance(data, Dataset):
        labels, split, ignored = options.labels, options.split, options.ignore_label
        data = find_dataset(
            data, card, labels=labels, split=split, label_values=options.label_values, ignore_label=ignored
        )
    if (data.task, data.classes) != (card.task, len(card.classes)):
        raise UsageError(
            f"evaluation data must be for {card.task.value} with {len(card.classes)} classes as {reference.name}, got"
            f" {data.task.value} with {data.classes}. Use a dataset of the model's own classes."
        )
    return data.limited(options.limit)


def _accumulate(
    run_images: _RunImages,
    dataset: Dataset,
    counts: Accumulator,
    timer: InferenceTimer,
    journal: Journal | None,
    options: EvaluationOptions,
) -> RunInfo:
    """Add the journal's records, then evaluate the other images."""
    start = time.perf_counter()
    for record in journal.read(len(dataset), len(timer.inference_s), dataset.classes) if journal else ():
        counts.add(record)
    resumed = int(counts.done.sum())
    remaining = np.flatnonzero(~counts.done).tolist()
    with contextlib.ExitStack() as stack:
        if journal is not None:
            journal.open()
        # Records of an executor come in bursts, so that only the mean rate means something.
        smoothing = 0.3 if options.executor is None else 0
        progress = stack.enter_context(
            bar(total=len(dataset), initial=resumed, unit="image", desc="evaluate", smoothing=smoothing)
        )
        for record in stack.enter_context(contextlib.closing(run_images(remaining))):
            counts.add(record)
            if journal is not None:
                journal.write(record)
            progress.set_postfix_str(counts.progress_text(), refresh=False)
            progress.update()
    return RunInfo(
        batch=options.batch,
        workers=options.workers or (reading_threads(None) if options.executor is None else None),
        executor=_executor_name(options.executor),
        sliding=options.sliding,
        seconds=time.perf_counter() - start,
        computed=timer.images,
        resumed=resumed,
    )


def _executor_name(executor: str | Executor | None) -> str:
    """Return the name of an executor, or its type; "" for none."""
    if executor is None or isinstance(executor, str):
        return executor or ""
    return type(executor).__name__


def _check_labels(counts: SegmentationAccumulator, classes: Sequence[str], dataset: Dataset) -> None:
    """Refuse labels without a labeled pixel, and warn about classes that never occur."""
    if not counts.labeled.any():
        raise UsageError(
            f"labels must judge some pixels, got only ignored ones in {dataset.root}. Use a split with public labels;"
            " those of Cityscapes' test split are blank."
        )
    absent = [classes[index] for index in np.flatnonzero(counts.labeled.sum(axis=0) == 0).tolist()]
    if absent:
        names = ", ".join(absent[:_MAX_NAMED_CLASSES]) + (", ..." if len(absent) > _MAX_NAMED_CLASSES else "")
        text = "%d of %d classes never occur in the labels below %s and do not count: %s"
        _LOG.warning(text, len(absent), len(classes), dataset.root, names)


def _journal(models: Sequence[EvaluatedModel], dataset: Dataset, options: EvaluationOptions) -> Journal | None:
    """Open the journal; None for a server that does not report what it serves, which may change between runs."""
    if options.journal is None:
        return None
    unknown = [model.name for model in models if not model.sha256]
    without_file = next((name for name in unknown if not is_url(name)), None)
    if without_file is not None:
        raise UsageError(f"a journal needs artifacts as files, got {without_file} as an object. Pass its path.")
    if unknown:
        _LOG.warning("an interrupted run cannot resume, because %s does not report its SHA-256", unknown[0])
        return None
    sliding = options.sliding
    key = {
        "version": VERSION,
        "models": [[model.sha256, model.device, model.backend, model.arithmetic] for model in models],
        "data": dataset.listing_digest(),
        "sliding": None if sliding is None else [sliding.window_hw, sliding.stride_hw],
    }
    return Journal(Path(options.journal), key)
