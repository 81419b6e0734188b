"""The worker's side of an evaluation on an executor: one chunk of images through models that a process opens once."""

from __future__ import annotations

import dataclasses
import functools
import os
import platform
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import ArtifactError, DeviceError, HrnetDeployError, MissingFileError, UsageError
from hrnet_deploy.evaluation.datasets.dataset import Dataset, Sample
from hrnet_deploy.evaluation.model_runner import ModelRunner
from hrnet_deploy.evaluation.sliding_window import SlidingWindow
from hrnet_deploy.evaluation.streaming import InferenceTimer, reading_threads, stream
from hrnet_deploy.executors import worker_threads
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.version import VERSION

_DIGITS = 12
_OPEN_LOCK = threading.Lock()  # several threads of one process may need the models at once


@dataclass(frozen=True, kw_only=True)
class WorkerModel:
    """An artifact as the driver found and ran it; a worker that differs would mix results."""

    path: Path
    sha256: str
    device: str
    backend: str
    arithmetic: str


@dataclass(frozen=True, kw_only=True)
class EvaluationTask:
    """What all chunks of an evaluation share.

    Attributes:
        dataset: the driver's dataset without its samples.
        workers: threads that read and count; None to suit the worker.
        threads: CPU threads of the runtime; None for the worker's share of its machine.
        driver: host and process of the driver, whose settings a worker in its threads must not change.
    """

    models: tuple[WorkerModel, ...]
    dataset: Dataset
    sliding: SlidingWindow | None
    batch: int
    workers: int | None
    threads: int | None
    driver: tuple[str, int]
    version: str = VERSION


@dataclass(frozen=True)
class EvaluationChunk:
    """Images of one chunk: their positions in the driver's dataset, their files, and the digest of their listing."""

    indices: tuple[int, ...]
    samples: tuple[Sample, ...]
    listing_digest: str


@dataclass(frozen=True)
class ChunkResult:
    """Records as `ImageRecord.to_json` returns them, and seconds inside each model's graph."""

    records: tuple[dict[str, Any], ...]
    inference_s: tuple[float, ...]


def this_process() -> tuple[str, int]:
    """Return the host's name and the number of this process."""
    return platform.node(), os.getpid()


def evaluate_chunk(task: EvaluationTask, chunk: EvaluationChunk) -> ChunkResult:
    """Evaluate the images of a chunk in this process, after checking that artifact and images are the driver's.

    Raises:
        MissingFileError: an artifact or image is not on this worker.
        ArtifactError: another artifact is at the path.
        UsageError: other images are at the paths, or another version of this package is installed.
        DeviceError: the runtime computes in another arithmetic here.
        HrnetDeployError: as `evaluate`.
    """
    if task.version != VERSION:
        raise UsageError(
            f"hrnet-deploy on {_worker()} must be the driver's {task.version}, got {VERSION}. Install one version."
        )
    threads = task.threads or worker_threads()
    with _OPEN_LOCK:
        runners = _open(task.models, task.sliding, threads)
        if task.driver != this_process() and threads is not None:
            cv2.setNumThreads(threads)
    dataset = dataclasses.replace(task.dataset, samples=chunk.samples)
    _check_listing(dataset, chunk)
    timer = InferenceTimer([0.0] * len(runners))
    workers = task.workers or reading_threads(threads)
    records = stream(runners, dataset, range(len(dataset)), timer, batch=task.batch, workers=workers)
    numbered = (dataclasses.replace(record, index=chunk.indices[record.index]) for record in records)
    return ChunkResult(tuple(record.to_json() for record in numbered), tuple(timer.inference_s))


@functools.lru_cache(maxsize=1)
def _open(
    models: tuple[WorkerModel, ...], sliding: SlidingWindow | None, threads: int | None
) -> tuple[ModelRunner, ...]:
    """Check and open the models, once per process; those of the evaluation before are released."""
    return tuple(ModelRunner(_open_model(model, threads), sliding) for model in models)


def _open_model(model: WorkerModel, threads: int | None) -> Predictor:
    """Open an artifact that has the driver's digest, on the driver's runtime."""
    if not model.path.is_file():
        raise MissingFileError(
            f"artifact must be at the same path on every worker, got no {model.path} on {_worker()}. Share or copy it."
        )
    digest = sha256_file(model.path)
    if digest != model.sha256:
        raise ArtifactError(
            f"artifact {model.path} on {_worker()} must have the driver's SHA-256 {model.sha256[:_DIGITS]}, got"
            f" {digest[:_DIGITS]}. Copy it again."
        )
    predictor = Predictor(model.path, device=model.device, backend=model.backend, threads=threads, streams=None)
    if predictor.arithmetic != model.arithmetic:
        raise DeviceError(
            f"{model.path.name} on {_worker()} must compute in {model.arithmetic} as on the driver, got"
            f" {predictor.arithmetic}. Use machines of one kind, or another backend."
        )
    return predictor


def _check_listing(dataset: Dataset, chunk: EvaluationChunk) -> None:
    """Refuse images whose names, sizes or times differ from the driver's."""
    try:
        digest = dataset.listing_digest()
    except HrnetDeployError as error:
        raise MissingFileError(f"data must be at the same path on every worker, got on {_worker()}: {error}") from error
    if digest != chunk.listing_digest:
        raise UsageError(
            f"data on {_worker()} must have the driver's names, sizes and times, got others among"
            f" {chunk.samples[0].path} and the {len(chunk.samples) - 1} images after it. Share the folder, or copy it"
            " with its times (rsync -a)."
        )


def _worker() -> str:
    return f"worker {platform.node()}"
