"""Images through several models: reading, inference and counting run side by side, in constant memory."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError
from hrnet_deploy.evaluation.datasets.cityscapes import read_label
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.image_record import ImageRecord, MaskCounts, Prediction
from hrnet_deploy.evaluation.metrics.segmentation import IGNORE, confusion_matrix
from hrnet_deploy.evaluation.model_runner import InputRows, ModelRunner, Outputs
from hrnet_deploy.imaging.image_files import read_file
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.prefetch import bucketed, in_order, ordered
from hrnet_deploy.spec import Preprocessing
from hrnet_deploy.system.cores import cores

_InputKey = tuple[Preprocessing, bool]
_MAX_READING_THREADS = 8


@dataclass
class InferenceTimer:
    """Images evaluated, and wall seconds inside each model's graph over the streams that ran side by side.

    Seconds of several workers add up.
    """

    inference_s: list[float]
    images: int = 0


@dataclass(frozen=True, eq=False)
class _PreparedImage:
    """An image that was read and preprocessed."""

    index: int
    content: str
    rows: Mapping[_InputKey, InputRows]
    label: NDArray[np.uint8] | None = field(repr=False)


_Ran = tuple[list[tuple[int, _PreparedImage]], list[list[list[Outputs]]], list[float]]
"""Images that ran together, each with its position in the order; outputs and seconds of each model."""


def reading_threads(threads: int | None) -> int:
    """Return the default number of threads that read and count beside so many of the runtime; None is all cores."""
    return max(2, min(_MAX_READING_THREADS, threads or cores()))


def stream(
    runners: Sequence[ModelRunner],
    dataset: Dataset,
    indices: Sequence[int],
    timer: InferenceTimer,
    *,
    batch: int,
    workers: int,
) -> Generator[ImageRecord, None, None]:
    """Evaluate images with every model; records come in order, and closing the iterator ends the threads."""
    # Workers read ahead of the models and count behind them; the models run one after the other, on as many threads as
    # they have streams. At most (2 x streams + 1) x batch + workers images wait before the models, and 2 x batch +
    # workers after; for images of several sizes streams x batch + workers more, so that those of one size run together.
    streams = max(runner.streams for runner in runners)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="evaluation")
    running = ThreadPoolExecutor(streams, thread_name_prefix="evaluation-model")
    try:
        ahead = streams * batch + workers
        images = ordered(pool, functools.partial(_read, runners, dataset), indices, most=ahead)
        groups = bucketed(images, batch, key=_input_shapes, window=ahead)
        batches = ordered(running, functools.partial(_run, runners, batch), groups, most=streams + 1)
        outputs = in_order(_outputs_per_image(batches, timer, streams))
        count = functools.partial(_count, runners, dataset)
        with contextlib.closing(ordered(pool, count, outputs, most=2 * batch + workers)) as records:
            yield from records
    finally:
        running.shutdown(wait=True, cancel_futures=True)
        pool.shutdown(wait=True, cancel_futures=True)


def _input_shapes(image: _PreparedImage) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of an image's rows; images of equal shapes may run together."""
    return tuple(rows.values.shape[1:] for rows in image.rows.values())


def _read(runners: Sequence[ModelRunner], dataset: Dataset, index: int) -> _PreparedImage:
    """Read and preprocess one image and its label."""
    sample = dataset.samples[index]
    content = read_file(sample.path)
    image = read_frame(content, str(sample.path)).image
    label = None
    if not isinstance(sample.label, int):
        label = read_label(sample.label, dataset.classes, dataset.label_ids)
        if label.shape != image.shape[:2]:
            raise ImageError(
                f"label image '{sample.label}' must have its image's size {image.shape[0]}x{image.shape[1]} (height x"
                f" width), got {label.shape[0]}x{label.shape[1]}. Use the label of this image."
            )
    rows: dict[_InputKey, InputRows] = {}
    try:
        for runner in runners:
            if runner.input_key not in rows:
                rows[runner.input_key] = runner.prepare(image)
    except ImageError as error:  # about the size; it does not know the file
        raise ImageError(f"{sample.path}: {error}") from error
    return _PreparedImage(index, hashlib.sha256(content).hexdigest(), rows, label)


def _run(runners: Sequence[ModelRunner], batch: int, images: list[tuple[int, _PreparedImage]]) -> _Ran:
    """Run every model on a group of images, one model after the other."""
    outputs, seconds = [], []
    for runner in runners:
        start = time.perf_counter()
        outputs.append(runner.run([image.rows[runner.input_key] for _, image in images], batch))
        seconds.append(time.perf_counter() - start)
    return images, outputs, seconds


def _outputs_per_image(
    batches: Iterator[_Ran], timer: InferenceTimer, streams: int
) -> Iterator[tuple[int, tuple[_PreparedImage, list[list[Outputs]]]]]:
    """Yield each image's position, and the image with its outputs per model."""
    for images, outputs, seconds in batches:
        for model, taken in enumerate(seconds):
            timer.inference_s[model] += taken / streams
        timer.images += len(images)
        for number, (position, image) in enumerate(images):
            yield position, (image, [own[number] for own in outputs])


def _count(
    runners: Sequence[ModelRunner], dataset: Dataset, item: tuple[_PreparedImage, Sequence[list[Outputs]]]
) -> ImageRecord:
    """Decode and count every model's prediction for one image."""
    image, outputs = item
    if image.label is None:
        rankings = [runner.ranking(rows) for runner, rows in zip(runners, outputs, strict=True)]
        return ImageRecord(image.index, image.content, tuple(rankings))
    counts: list[Prediction] = []
    size_hw = (image.label.shape[0], image.label.shape[1])
    reference: NDArray[np.uint8] | None = None
    for runner, rows in zip(runners, outputs, strict=True):
        mask = runner.mask(rows, image.rows[runner.input_key], size_hw)
        reference = mask if reference is None else reference
        counts.append(_mask_counts(image.label, reference, mask, dataset.classes))
    return ImageRecord(image.index, image.content, tuple(counts))


def _mask_counts(
    label: NDArray[np.uint8], reference: NDArray[np.uint8], mask: NDArray[np.uint8], classes: int
) -> MaskCounts:
    confusion = confusion_matrix(label, mask, classes)
    if mask is reference:
        return MaskCounts(confusion, np.diag(np.bincount(mask.ravel(), minlength=classes)).astype(np.int64), 0, 0)
    differ = (mask != reference) & (label != IGNORE)
    return MaskCounts(
        confusion,
        confusion_matrix(reference, mask, classes),
        lost=int(np.count_nonzero(differ & (reference == label))),
        gained=int(np.count_nonzero(differ & (mask == label))),
    )
