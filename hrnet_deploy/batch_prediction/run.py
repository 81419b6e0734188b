"""Batch prediction: all images of folders, lists, shards and tables to parts of an output folder."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hrnet_deploy.batch_prediction.chunk import make_chunks
from hrnet_deploy.batch_prediction.inputs import Inputs, find_inputs
from hrnet_deploy.batch_prediction.manifest import Manifest, Part
from hrnet_deploy.batch_prediction.parquet_span import import_pyarrow
from hrnet_deploy.batch_prediction.part_writer import FORMATS, remove_unfinished
from hrnet_deploy.batch_prediction.worker import Job, predict_chunk, release_model
from hrnet_deploy.engines.remote.address import is_url
from hrnet_deploy.engines.remote.model_info import reported_sha256
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.executors import check_executor, open_executor, run_chunks
from hrnet_deploy.integrity.inspect import inspect
from hrnet_deploy.limits import DATASET_IMAGES
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.spec import ModelCard, Task
from hrnet_deploy.system.file_lock import exclusive
from hrnet_deploy.system.progress import bar
from hrnet_deploy.system.write_errors import writing
from hrnet_deploy.version import VERSION

_TOPK = 5
_Path = str | os.PathLike[str]


@dataclass(frozen=True)
class BatchPrediction:
    """Finished batch prediction.

    Attributes:
        folder: output folder.
        images: number of rows in all parts.
        errors: number of rows with an error.
        parts: number of parts.
        resumed: number of parts that an earlier run wrote.
    """

    folder: Path
    images: int
    errors: int
    parts: int
    resumed: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self) | {"folder": str(self.folder)}


def predict_dataset(
    artifact: _Path | RemoteModel,
    sources: _Path | Sequence[_Path],
    out: _Path,
    *,
    format: str = "jsonl",  # noqa: A002 - the word of pandas, Spark and DuckDB
    chunk: int = 1000,
    executor: str | Executor | None = None,
    column: str | None = None,
    root: _Path | None = None,
    batch: int = 1,
    topk: int | None = None,
    draft: bool = False,
    device: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
    card: ModelCard | None = None,
) -> BatchPrediction:
    """Predict every image of large sources into an output folder; run it again to continue after an interruption.

    Each chunk of images becomes one part: `part-000000.jsonl`, `part-000000.parquet`, or the folder `part-000000` with
    masks and `rows.jsonl`. Parts are written atomically. A later call with the same artifact, options and inputs skips
    the parts whose digests are in `_manifest.json`. Neither order nor names depend on the executor.
    An image that cannot be read is a row with an error.

    Args:
        artifact: as for `Predictor`.
        sources: image files, folders, glob patterns, "@FILE" for a list file with one path a line, WebDataset shards
            (.tar) and Parquet files; one or several.
        out: output folder: new, empty, or of an earlier call. All workers need it at the same path.
        format: "jsonl", "parquet", or "masks" for PNG files of class ids.
        chunk: images in a part, at least 1.
        executor: "processes:4", "ray://HOST:PORT", "dask://HOST:PORT", an `Executor`, or None for this process. All
            workers need artifact and inputs at the same paths; the artifact's digest and file sizes are checked.
        column: column of Parquet files: encoded images, Hugging Face's images, or paths.
        root: folder that paths in list files and Parquet files are relative to and must not leave; None for the folder
            of each of these files.
        batch: images per inference, at least 1.
        topk: classes in a row of a classifier; None for 5.
        draft: as for `Predictor.predict`.
        device: as for `Predictor`.
        backend: as for `Predictor`.
        threads: CPU threads of each worker; None for an equal share of the cores.
        card: card for an artifact or server without one, or in place of its own.

    Returns:
        The numbers of images, errors and parts.

    Raises:
        UsageError: an option that does not apply, a damaged source, or a folder with other results.
        MissingFileError: a source or the artifact does not exist.
        MissingDependencyError: `pyarrow` is needed and not installed.
        DeviceError: a worker or the runtime failed; call again to continue.
    """
    given = [sources] if isinstance(sources, (str, os.PathLike)) else sources
    options = {"device": device, "backend": backend, "threads": threads, "batch": batch, "draft": draft}
    job = _make_job(artifact, Path(out), card, format, topk, options)
    check_executor(executor)
    if not 1 <= chunk <= DATASET_IMAGES:
        raise UsageError(f"chunk must be 1 to {DATASET_IMAGES}, got {chunk}. The default is 1000.")
    inputs = find_inputs(
        [os.fspath(each) for each in given], column=column, root=None if root is None else os.fspath(root)
    )
    # Everything that changes a byte of the output. An executor and its threads do not.
    key = {
        "version": VERSION,
        "artifact": job.sha256 or str(job.artifact),
        "card": None if job.card is None else hashlib.sha256(job.card.to_json().encode()).hexdigest(),
        **{name: getattr(job, name) for name in ("format", "topk", "device", "backend", "batch", "draft")},
        "chunk": chunk,
        "images": len(inputs),
        "inputs": inputs.sha256,
    }
    with _claimed(job.folder), open_executor(executor, threads=threads) as engine:
        manifest = Manifest(job.folder, key)
        parts = manifest.open()
        if parts and not job.sha256:
            raise UsageError(f"{job.artifact} must report its SHA-256 to continue a run. Choose another folder.")
        resumed = len(parts)
        _compute(job, inputs, chunk, engine, manifest, parts)
        manifest.finish(parts.values())
    errors = sum(part.errors for part in parts.values())
    return BatchPrediction(Path(out), len(inputs), errors, len(parts), resumed)


def _make_job(
    artifact: _Path | RemoteModel,
    out: Path,
    card: ModelCard | None,
    form: str,
    topk: int | None,
    options: dict[str, Any],
) -> Job:
    """Identify the artifact, and check the options that depend on it."""
    if form not in FORMATS:
        raise UsageError(f"format must be one of {', '.join(FORMATS)}, got '{form}'. Choose one.")
    if isinstance(artifact, RemoteModel) or is_url(artifact):
        served = artifact if isinstance(artifact, RemoteModel) else RemoteModel(str(artifact))
        place: Path | RemoteModel = served
        card = card or served.card
        with Predictor(served, card=card) as predictor:
            known: ModelCard | None = predictor.card
            sha256 = reported_sha256(predictor.metadata)
    else:
        place = Path(artifact).absolute()
        inspection = inspect(place)
        known, sha256 = card or inspection.card, inspection.sha256
    if known is None:
        raise ArtifactError(f"artifact must carry a model card, got none in {artifact}. Name one: --card FILE.")
    _check_options(known, form, topk, options["batch"])
    return Job(
        artifact=place, sha256=sha256, card=card, format=form, topk=topk or _TOPK, folder=out.absolute(), **options
    )


def _check_options(card: ModelCard, form: str, topk: int | None, batch: int) -> None:
    """Refuse options that do not apply to the model."""
    if form == "masks" and card.task is not Task.SEGMENTATION:
        raise UsageError(f"format masks needs a model for segmentation, got {card.task.value}. Use jsonl or parquet.")
    if form == "parquet":
        import_pyarrow("pyarrow.parquet", "format parquet")
    if topk is not None and card.task is not Task.CLASSIFICATION:
        raise UsageError(f"topk applies to classification only, got a model for {card.task.value}. Leave it out.")
    if topk is not None and topk < 1:
        raise UsageError(f"topk must be at least 1, got {topk}. The default is {_TOPK}.")
    fixed = card.inputs[0].shape[0]
    if batch < 1 or (isinstance(fixed, int) and batch not in {1, fixed}):
        allowed = fixed if isinstance(fixed, int) else "at least 1"
        raise UsageError(f"batch must be {allowed}, got {batch}. Leave it out.")


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold an output folder against other drivers."""
    with contextlib.ExitStack() as stack:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(folder / f".{folder.name}", "predict into"))
            remove_unfinished(folder)
            stack.callback(remove_unfinished, folder)  # of workers that an interruption ended
        yield


def _compute(
    job: Job, inputs: Inputs, size: int, engine: Executor | None, manifest: Manifest, parts: dict[int, Part]
) -> None:
    """Predict the chunks without a part, and add their parts as they finish."""
    chunks = (chunk for chunk in make_chunks(inputs.spans, size) if chunk.number not in parts)
    done = sum(part.images for part in parts.values())
    finished = run_chunks(engine, functools.partial(predict_chunk, job), chunks)
    try:
        with bar(total=len(inputs), initial=done, unit="image", desc="predict") as progress:
            for _, part in finished:
                _check_runtime(part, next(iter(parts.values()), part))
                manifest.record(part)
                parts[part.number] = part
                progress.update(part.images)
    finally:
        if isinstance(finished, Generator):  # ends the work of other chunks
            finished.close()
        if engine is None:
            release_model()


def _check_runtime(part: Part, first: Part) -> None:
    """Refuse a worker whose predictions differ by their runtime."""
    if part.runtime != first.runtime:
        raise UsageError(
            f"all parts must come from one runtime, got {part.runtime} for {part.file} and {first.runtime} for "
            f"{first.file}. Name --device and --backend, and use another folder."
        )
