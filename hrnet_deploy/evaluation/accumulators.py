"""All images together: compact counts of what every net answered."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.image_record import MaskCounts, Record
from hrnet_deploy.evaluation.metrics.classification import TOP, ClassificationMetrics, Ranking
from hrnet_deploy.evaluation.metrics.segmentation import SegmentationMetrics, intersection_over_union

MOVES = 5
"""How many of an image's changes from class to class are kept."""


class ClassificationTally:
    """Rankings of every net for every image.

    Attributes:
        done: which images are in, bool (images,).
        labels: right class of each, int64 (images,).
        top: best classes, int32 (nets, images, TOP); -1 beyond what a graph answers.
        scores: their probabilities, float32 (nets, images, TOP).
    """

    def __init__(self, dataset: Dataset, networks: int) -> None:
        """Start empty.

        Args:
            dataset: the images.
            networks: number of nets.
        """
        count = len(dataset)
        self.done = np.zeros(count, np.bool_)
        self.labels = np.array([sample.label for sample in dataset.samples], np.int64)
        self.top = np.full((networks, count, TOP), -1, np.int32)
        self.scores = np.zeros((networks, count, TOP), np.float32)
        self._classes = dataset.classes
        self._contents: dict[int, str] = {}
        self._hits = np.zeros(networks, np.int64)

    def add(self, record: Record) -> None:
        """Take up one image.

        Args:
            record: what was answered.
        """
        for net, answer in enumerate(record.answers):
            if isinstance(answer, Ranking):
                self.top[net, record.index, : len(answer.top)] = answer.top
                self.scores[net, record.index, : len(answer.scores)] = answer.scores
                self._hits[net] += answer.top[0] == self.labels[record.index]
        self.done[record.index] = True
        self._contents[record.index] = record.content

    def ranking(self, net: int, image: int) -> Ranking:
        """One net's answer to one image.

        Args:
            net: which net.
            image: which image.

        Returns:
            The ranking.
        """
        there = self.top[net, image] >= 0
        return Ranking(tuple(self.top[net, image][there].tolist()), tuple(self.scores[net, image][there].tolist()))

    def hits(self, net: int, top: int = 1) -> NDArray[np.bool_]:
        """Which images a net has right.

        Args:
            net: which net.
            top: how many of the best classes count.

        Returns:
            bool (images,).
        """
        return np.asarray((self.top[net, :, :top] == self.labels[:, None]).any(axis=1) & self.done)

    def metrics(self, net: int) -> ClassificationMetrics:
        """What a net reaches on the images that are in.

        Args:
            net: which net.

        Returns:
            Its metrics.
        """
        counts = (
            np.bincount(self.labels[chosen], minlength=self._classes).astype(np.int64)
            for chosen in (self.hits(net), self.hits(net, TOP), self.done)
        )
        return ClassificationMetrics(*counts)

    def running(self) -> str:
        """The metric so far, for a progress bar."""
        shares = 100 * self._hits / max(1, int(self.done.sum()))
        return "top-1 " + " | ".join(f"{share:.1f}" for share in shares)

    def content_digest(self) -> str:
        """Digest of the content of all images, in order, in hex."""
        return _digest(self._contents)


class SegmentationTally:
    """Confusion matrices of every net, and what resampling images needs of each.

    Attributes:
        done: which images are in, bool (images,).
        confusion: pixels, int64 (nets, classes, classes): right class, answer.
        transitions: pixels, int64 (nets, classes, classes): the reference's answer, this net's.
        labelled: pixels by right class, int64 (images, classes).
        hits: of those answered right, int64 (nets, images, classes).
        answered: judged pixels by answer, int64 (nets, images, classes).
        pixels: pixels of each image, int64 (images,).
        changed: pixels answered otherwise than by the reference, int64 (nets, images).
        lost: judged pixels the reference has right and this net has not, int64 (nets, images).
        gained: the other way round, int64 (nets, images).
    """

    def __init__(self, dataset: Dataset, networks: int) -> None:
        """Start empty.

        Args:
            dataset: the images.
            networks: number of nets.
        """
        count, classes = len(dataset), dataset.classes
        self.done = np.zeros(count, np.bool_)
        self.confusion = np.zeros((networks, classes, classes), np.int64)
        self.transitions = np.zeros((networks, classes, classes), np.int64)
        self.labelled = np.zeros((count, classes), np.int64)
        self.hits = np.zeros((networks, count, classes), np.int64)
        self.answered = np.zeros((networks, count, classes), np.int64)
        self.pixels = np.zeros(count, np.int64)
        self.changed, self.lost, self.gained = (np.zeros((networks, count), np.int64) for _ in range(3))
        self._most: dict[tuple[int, int], tuple[tuple[int, int, int], ...]] = {}
        self._contents: dict[int, str] = {}

    def add(self, record: Record) -> None:
        """Take up one image.

        Args:
            record: what was answered.
        """
        image = record.index
        for net, answer in enumerate(record.answers):
            if not isinstance(answer, MaskCounts):
                continue
            self.confusion[net] += answer.confusion
            self.transitions[net] += answer.transitions
            self.hits[net, image] = answer.confusion.diagonal()
            self.answered[net, image] = answer.confusion.sum(axis=0)
            self.labelled[image] = answer.confusion.sum(axis=1)
            self.pixels[image] = answer.transitions.sum()
            self.changed[net, image] = answer.changed
            self.lost[net, image], self.gained[net, image] = answer.lost, answer.gained
            self._most[net, image] = most_moved(answer.transitions)
        self.done[image] = True
        self._contents[image] = record.content

    def most_moved(self, net: int, image: int) -> tuple[tuple[int, int, int], ...]:
        """The largest changes from class to class in one image.

        Args:
            net: which net.
            image: which image.

        Returns:
            (reference's class, this net's class, pixels), most pixels first, at most `MOVES`.
        """
        return self._most.get((net, image), ())

    def image_miou(self, net: int) -> NDArray[np.float64]:
        """Mean IoU over the labelled classes, image by image.

        Args:
            net: which net.

        Returns:
            float64 (images,), 0..1; 0 for an image without judged pixels.
        """
        return mean_labelled(self.labelled, self.hits[net], self.answered[net])

    def metrics(self, net: int) -> SegmentationMetrics:
        """What a net reaches on the images that are in.

        Args:
            net: which net.

        Returns:
            Its metrics.
        """
        return SegmentationMetrics(self.confusion[net].copy())

    def running(self) -> str:
        """The metric so far, for a progress bar."""
        return "mIoU " + " | ".join(f"{100 * SegmentationMetrics(each).miou:.1f}" for each in self.confusion)

    def content_digest(self) -> str:
        """Digest of the content of all images, in order, in hex."""
        return _digest(self._contents)


Tally = ClassificationTally | SegmentationTally
"""Counts of either task."""


def mean_labelled(labelled: NDArray[Any], hits: NDArray[Any], answered: NDArray[Any]) -> NDArray[np.float64]:
    """Mean IoU over the labelled classes, for many images or sets at once.

    Args:
        labelled: pixels by right class, (n, classes).
        hits: of those answered right, (n, classes).
        answered: judged pixels by answer, (n, classes).

    Returns:
        float64 (n,), 0..1; 0 where nothing is labelled.
    """
    there = labelled > 0
    iou = np.where(there, np.nan_to_num(intersection_over_union(hits, labelled, answered)), 0.0)
    return np.asarray(iou.sum(axis=1) / np.maximum(1, there.sum(axis=1)), np.float64)


def most_moved(transitions: NDArray[np.int64]) -> tuple[tuple[int, int, int], ...]:
    """The largest changes from class to class.

    Args:
        transitions: pixels, int64 (classes, classes).

    Returns:
        (from, to, pixels), most pixels first, at most `MOVES`.
    """
    off = transitions.copy()
    np.fill_diagonal(off, 0)
    places = np.argsort(-off, axis=None, kind="stable")[:MOVES]
    return tuple(
        (int(place) // len(off), int(place) % len(off), int(off.flat[place])) for place in places if off.flat[place]
    )


def _digest(contents: dict[int, str]) -> str:
    return hashlib.sha256("\n".join(contents[index] for index in sorted(contents)).encode()).hexdigest()
