"""Images through several nets at once: reading ahead, inference and counting side by side, in constant memory."""

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

from hrnet_deploy.errors import ImageError, MissingFileError
from hrnet_deploy.evaluation.datasets.cityscapes import read_label
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.image_record import Answer, MaskCounts, Record
from hrnet_deploy.evaluation.metrics.segmentation import IGNORE, confusion_matrix
from hrnet_deploy.evaluation.model_runner import InputRows, ModelRunner, Outputs
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.prefetch import bucketed, in_order, ordered
from hrnet_deploy.spec import Preprocessing

Preparation = tuple[Preprocessing, bool]


@dataclass
class InferenceTimer:
    """Where the time went.

    Attributes:
        inference_s: seconds of the wall inside each net's graph, shared among the streams that ran side by side.
        images: images answered.
    """

    inference_s: list[float]
    images: int = 0


@dataclass(frozen=True, eq=False)
class _Picture:
    """An image read and prepared."""

    index: int
    content: str
    rows: Mapping[Preparation, InputRows]
    label: NDArray[np.uint8] | None = field(repr=False)


@dataclass(frozen=True, eq=False)
class _Group:
    """Pictures answered together, each with its place in the order: outputs and seconds by net."""

    pictures: list[tuple[int, _Picture]]
    outputs: list[list[list[Outputs]]]
    seconds: list[float]


def stream(
    networks: Sequence[ModelRunner],
    dataset: Dataset,
    indices: Sequence[int],
    clock: InferenceTimer,
    *,
    batch: int,
    workers: int,
) -> Generator[Record, None, None]:
    """Answer images with every net.

    Workers read, decode and preprocess images ahead of the nets, and count answers behind them; the nets run one after
    the other, on as many threads as they have streams. At most (2 x streams + 1) x batch + workers images are held
    before the nets, and 2 x batch + workers after; where nets take images of several sizes, streams x batch + workers
    more, so that those of one size run together.

    Args:
        networks: the nets, the reference first.
        dataset: the images.
        indices: which of them, in order.
        clock: what is added to.
        batch: images per run.
        workers: threads beside the caller's.

    Yields:
        One record an image, in order; of an image that cannot be used, all before it. Closing the iterator ends the
        threads.

    Raises:
        ImageError: an image or label that cannot be used, its name first.
        MissingFileError: one that is gone.
        DeviceError: the runtime failed.
    """
    streams = max(network.streams for network in networks)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="evaluation")
    running = ThreadPoolExecutor(streams, thread_name_prefix="evaluation-net")
    try:
        read = functools.partial(_read, networks, dataset)
        ahead = streams * batch + workers
        pictures = ordered(pool, read, indices, most=ahead)
        run = functools.partial(_run, networks, batch)
        groups = ordered(running, run, bucketed(pictures, batch, key=_sizes, window=ahead), most=streams + 1)
        count = functools.partial(_count, networks, dataset)
        answered = in_order(_answered(groups, clock, streams))
        with contextlib.closing(ordered(pool, count, answered, most=2 * batch + workers)) as records:
            yield from records
    finally:
        running.shutdown(wait=True, cancel_futures=True)
        pool.shutdown(wait=True, cancel_futures=True)


def _sizes(picture: _Picture) -> tuple[tuple[int, ...], ...]:
    """What the nets are given, but for the number of windows."""
    return tuple(rows.values.shape[1:] for rows in picture.rows.values())


def _answered(
    groups: Iterator[_Group], clock: InferenceTimer, streams: int
) -> Iterator[tuple[int, tuple[_Picture, list[list[Outputs]]]]]:
    """One entry a picture, with its place."""
    for group in groups:
        # Of the wall: streams spend them side by side.
        for place, seconds in enumerate(group.seconds):
            clock.inference_s[place] += seconds / streams
        clock.images += len(group.pictures)
        for number, (place, picture) in enumerate(group.pictures):
            yield place, (picture, [of_network[number] for of_network in group.outputs])


def _read(networks: Sequence[ModelRunner], dataset: Dataset, index: int) -> _Picture:
    sample = dataset.samples[index]
    try:
        content = sample.path.read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"image '{sample.path}' must exist, got no such file. Check the data set.") from error
    except OSError as error:
        raise ImageError(f"image '{sample.path}' cannot be read ({error.strerror}). Check its permissions.") from error
    image = read_frame(content, str(sample.path)).image
    label = None
    if not isinstance(sample.label, int):
        label = read_label(sample.label, dataset.classes, dataset.label_ids)
        if label.shape != image.shape[:2]:
            raise ImageError(
                f"label image '{sample.label}' must have its image's size {image.shape[0]}x{image.shape[1]} (height x"
                f" width), got {label.shape[0]}x{label.shape[1]}. Use the label of this image."
            )
    rows: dict[Preparation, InputRows] = {}
    try:
        for network in networks:
            if network.preparation not in rows:
                rows[network.preparation] = network.prepare(image)
    except ImageError as error:  # of the size; it does not know the file
        raise ImageError(f"{sample.path}: {error}") from error
    return _Picture(index, hashlib.sha256(content).hexdigest(), rows, label)


def _run(networks: Sequence[ModelRunner], batch: int, pictures: list[tuple[int, _Picture]]) -> _Group:
    """Every net on a group, one after the other."""
    outputs, seconds = [], []
    for network in networks:
        began = time.perf_counter()
        outputs.append(network.run([picture.rows[network.preparation] for _, picture in pictures], batch))
        seconds.append(time.perf_counter() - began)
    return _Group(pictures, outputs, seconds)


def _count(
    networks: Sequence[ModelRunner], dataset: Dataset, answered: tuple[_Picture, Sequence[list[Outputs]]]
) -> Record:
    """Decode every net's answer to one image and count it; outputs are dropped with the record's future."""
    picture, outputs = answered
    if picture.label is None:
        rankings = [network.ranking(rows) for network, rows in zip(networks, outputs, strict=True)]
        return Record(picture.index, picture.content, tuple(rankings))
    answers: list[Answer] = []
    size_hw = (picture.label.shape[0], picture.label.shape[1])
    reference: NDArray[np.uint8] | None = None
    for network, rows in zip(networks, outputs, strict=True):
        mask = network.mask(rows, picture.rows[network.preparation], size_hw)
        reference = mask if reference is None else reference
        answers.append(_masks(picture.label, reference, mask, dataset.classes))
    return Record(picture.index, picture.content, tuple(answers))


def _masks(label: NDArray[np.uint8], reference: NDArray[np.uint8], mask: NDArray[np.uint8], classes: int) -> MaskCounts:
    confusion = confusion_matrix(label, mask, classes)
    if mask is reference:
        return MaskCounts(confusion, np.diag(np.bincount(mask.ravel(), minlength=classes)).astype(np.int64), 0, 0)
    differ = mask != reference
    judged = differ & (label != IGNORE)
    return MaskCounts(
        confusion,
        confusion_matrix(reference, mask, classes),
        lost=int(np.count_nonzero(judged & (reference == label))),
        gained=int(np.count_nonzero(judged & (mask == label))),
    )
