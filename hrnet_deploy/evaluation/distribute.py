"""The driver's side of an evaluation on an executor: chunks of image indices go out, records come back."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator, Sequence
from concurrent.futures import Executor

from hrnet_deploy.errors import DeviceError, UsageError
from hrnet_deploy.evaluation.datasets.dataset import Dataset, Sample
from hrnet_deploy.evaluation.image_record import ImageRecord
from hrnet_deploy.evaluation.options import EvaluationOptions
from hrnet_deploy.evaluation.run_info import EvaluatedModel
from hrnet_deploy.evaluation.streaming import InferenceTimer
from hrnet_deploy.evaluation.worker import EvaluationChunk, EvaluationTask, WorkerModel, evaluate_chunk, this_process
from hrnet_deploy.executors import run_chunks, worker_count

_MAX_CHUNK = 64  # bounds what is computed again where a worker is lost
_CHUNKS_PER_WORKER = 8  # so that workers end at nearly the same time


def make_task(models: Sequence[EvaluatedModel], dataset: Dataset, options: EvaluationOptions) -> EvaluationTask:
    """Describe an evaluation for workers, which open the artifacts themselves.

    Raises:
        UsageError: a model is an object, on a server, or on a GPU that tasks of Ray would not get.
    """
    if str(options.executor).startswith("ray://") and any(model.device != "cpu" for model in models):
        raise UsageError("an executor on Ray reserves CPUs only, got a model on a GPU. Use --device cpu, or Dask.")
    # A read-only view of a mapping cannot be pickled.
    label_ids = None if dataset.label_ids is None else dict(dataset.label_ids)
    return EvaluationTask(
        models=tuple(_worker_model(model) for model in models),
        dataset=dataclasses.replace(dataset, samples=(), label_ids=label_ids),
        sliding=options.sliding,
        batch=options.batch,
        workers=options.workers,
        threads=options.threads,
        driver=this_process(),
    )


def distribute(
    executor: Executor, task: EvaluationTask, dataset: Dataset, indices: Sequence[int], timer: InferenceTimer
) -> Generator[ImageRecord, None, None]:
    """Evaluate images on an executor; records come chunk by chunk as workers finish, each image exactly once."""
    size = chunk_size(len(indices), worker_count(executor), task.batch)
    parts = [indices[start : start + size] for start in range(0, len(indices), size)]
    work = functools.partial(evaluate_chunk, task)
    for position, result in run_chunks(executor, work, (make_chunk(dataset, part) for part in parts)):
        records = [ImageRecord.from_json(r, len(dataset), len(task.models), dataset.classes) for r in result.records]
        if [record.index for record in records] != list(parts[position]):
            raise DeviceError("a worker must return the records of its images, got others. Run again.")
        for model, taken in enumerate(result.inference_s):
            timer.inference_s[model] += taken
        for record in records:
            timer.images += 1
            yield record


def chunk_size(images: int, workers: int, batch: int) -> int:
    """Return the images of one chunk: whole batches, so that most images run in batches as in one process."""
    wanted = min(_MAX_CHUNK, -(-images // (workers * _CHUNKS_PER_WORKER)))
    return max(1, -(-wanted // batch)) * batch


def make_chunk(dataset: Dataset, indices: Sequence[int]) -> EvaluationChunk:
    """Describe the images of a chunk; workers may run in other folders, so the paths are absolute."""
    samples = tuple(_absolute(dataset.samples[index]) for index in indices)
    digest = dataclasses.replace(dataset, samples=samples).listing_digest()
    return EvaluationChunk(tuple(indices), samples, digest)


def _absolute(sample: Sample) -> Sample:
    label = sample.label if isinstance(sample.label, int) else sample.label.absolute()
    return Sample(sample.name, sample.path.absolute(), label)


def _worker_model(model: EvaluatedModel) -> WorkerModel:
    if model.path is None:
        raise UsageError(
            f"an executor needs artifacts as files, which its workers open, got {model.name} as an object or on a"
            " server. Name its file, or leave the executor out."
        )
    return WorkerModel(
        path=model.path.absolute(),
        sha256=model.sha256,
        device=model.device,
        backend=model.backend,
        arithmetic=model.arithmetic,
    )
