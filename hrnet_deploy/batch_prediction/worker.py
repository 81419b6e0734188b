"""The work on one chunk, in any process: its images through the model, and its part to disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.batch_prediction.chunk import Chunk
from hrnet_deploy.batch_prediction.manifest import Part
from hrnet_deploy.batch_prediction.part_writer import open_part, part_digest, part_name
from hrnet_deploy.batch_prediction.row import make_row
from hrnet_deploy.batch_prediction.stored_image import StoredImage
from hrnet_deploy.engines.remote.model_info import reported_sha256
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.executors import worker_threads
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.results import Result
from hrnet_deploy.spec import ModelCard

_LOCK = threading.Lock()
_OPENED: list[tuple[Job, Predictor]] = []
"""The model of the latest job in this process, opened once."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that a worker needs beside its chunk.

    Attributes:
        artifact: an absolute path, or a model on a server.
        sha256: its digest in hex; "" for a server that does not report one.
        card: in place of the artifact's own; None otherwise.
        folder: absolute path of the output folder.
    """

    artifact: Path | RemoteModel
    sha256: str
    card: ModelCard | None
    device: str
    backend: str
    threads: int | None
    batch: int
    draft: bool
    topk: int
    format: str
    folder: Path


def predict_chunk(job: Job, chunk: Chunk) -> Part:
    """Predict the images of a chunk and write its part.

    UsageError: artifact or inputs are others here than at the driver, or the part cannot be written; and the errors of
    Predictor.
    """
    predictor = _predictor(job)
    for span in chunk.spans:
        span.check()
    if not job.folder.is_dir():
        raise UsageError(f"output folder must be the same for every worker, got no {job.folder} here. Share it.")
    errors = 0
    with open_part(job.folder, chunk.number, job.format, predictor.card.task) as writer:
        for index, (name, outcome) in enumerate(_outcomes(predictor, job, chunk), chunk.first):
            result = outcome if isinstance(outcome, Result) else None
            errors += result is None
            writer.add(make_row(index, name, outcome, job.topk), result)
    name = part_name(chunk.number, job.format)
    kind = predictor.device.partition(":")[0]
    runtime = f"{predictor.backend}, {predictor.arithmetic} on {kind}"
    return Part(chunk.number, name, len(chunk), errors, part_digest(job.folder / name), runtime)


def release_model() -> None:
    """Close the model that this process opened."""
    with _LOCK:
        for _, predictor in _OPENED:
            predictor.close()
        _OPENED.clear()


def _predictor(job: Job) -> Predictor:
    """Open the model once in each process, and check that it is the driver's."""
    with _LOCK:
        if _OPENED and _OPENED[0][0] == job:
            return _OPENED[0][1]
        _OPENED.clear()  # not closed: another thread may still run it
        if isinstance(job.artifact, Path):
            _check_digest(job, sha256_file(job.artifact))
        threads = job.threads or worker_threads()
        predictor = Predictor(
            job.artifact, device=job.device, backend=job.backend, threads=threads, streams=None, card=job.card
        )
        if not isinstance(job.artifact, Path):
            _check_digest(job, reported_sha256(predictor.metadata))
        _OPENED.append((job, predictor))
        return predictor


def _check_digest(job: Job, found: str) -> None:
    if found != job.sha256:
        raise UsageError(
            f"artifact must be the same for every worker, SHA-256 {job.sha256}, got {found} at"
            f" {job.artifact}. Copy it again."
        )


def _outcomes(predictor: Predictor, job: Job, chunk: Chunk) -> Iterator[tuple[str, Result | ImageError]]:
    """Yield the name and the result or error of each image, in order."""
    names: deque[str] = deque()
    failed: deque[ImageError] = deque()

    def images() -> Iterator[StoredImage]:
        for span in chunk.spans:
            for image in span.images():
                names.append(image.name)
                yield image

    results = predictor.stream(
        images(), batch=job.batch, draft=job.draft, on_error=lambda _, error: failed.append(error)
    )
    for result in results:  # errors of the images before it are reported first
        while failed:
            yield names.popleft(), failed.popleft()
        yield names.popleft(), result
    while failed:
        yield names.popleft(), failed.popleft()
