"""One model of a server: its predictor, its batches and its places in the queue."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.serving.batching import Batcher, Computed, Job, Ticket
from hrnet_deploy.serving.http_error import HttpError
from hrnet_deploy.serving.image_work import ImageWork
from hrnet_deploy.serving.limits import Limits
from hrnet_deploy.serving.metrics import Metrics
from hrnet_deploy.serving.uploads import too_many
from hrnet_deploy.serving.workers import Resolve, Workers, settle

_RETRY = {"Retry-After": "1"}
_JSON_BYTES = 1 << 16


class ServedModel:
    """An open model behind a name; used from the event loop.

    Attributes:
        name: name in URLs.
        predictor: the open artifact.
        card: its card.
        max_batch: largest batch of a request for the graph itself.
        sha256: digest of the file; None for a predictor that was given open, and for a server's URL.
        images: the way of images through the model.
    """

    def __init__(
        self,
        name: str,
        given: Predictor | str | os.PathLike[str],
        options: Mapping[str, Any],
        limits: Limits,
        workers: Workers,
        metrics: Metrics,
    ) -> None:
        self._is_own = not isinstance(given, Predictor)
        predictor = given if isinstance(given, Predictor) else Predictor(given, **options)
        self.name, self.predictor, self.card = name, predictor, predictor.card
        self.sha256 = None if isinstance(given, Predictor) or not Path(given).is_file() else sha256_file(Path(given))
        fixed = self.card.inputs[0].shape[0]
        self.max_batch = fixed if isinstance(fixed, int) else self.card.shapes.max_nhw[0]
        self._limits, self._workers = limits, workers
        self._in_use = 0
        self._batcher = Batcher(
            predictor,
            max_batch=min(limits.batch, self.max_batch) if isinstance(fixed, str) else fixed,
            wait_s=limits.batch_wait_s,
            count_batch=functools.partial(metrics.count_batch, name),
        )
        self.images = ImageWork(predictor, self._batcher, workers, limits)

    @property
    def waiting(self) -> int:
        """Number of images that are prepared and wait for a stream."""
        return self._batcher.waiting

    @property
    def in_use(self) -> int:
        """Number of images that were accepted and have no result."""
        return self._in_use

    @property
    def message_bytes(self) -> int:
        """Size of a message of the V2 protocol with the smallest batch of the largest image, as a binary tensor."""
        spec, (_, height, width) = self.card.inputs[0], self.card.shapes.max_nhw
        return self.card.least_batch * height * width * 3 * np.dtype(spec.dtype).itemsize + _JSON_BYTES

    def warm_up(self) -> None:
        """Run the smallest input once: the first inference allocates."""
        spec = self.card.inputs[0]
        batch, height, width = (self.card.least_batch, *self.card.shapes.min_nhw[1:])
        shape = (batch, height, width, 3) if self.card.pixels_in else (batch, 3, height, width)
        sizes = [size if isinstance(size, int) else own for size, own in zip(spec.shape, shape, strict=True)]
        self.predictor.infer(np.zeros(sizes, spec.dtype))

    def check_room(self, images: int = 1) -> None:
        """Refuse images that have no place in the queue.

        Raises:
            HttpError: 503, with the time after which to try again.
        """
        places = self._limits.queue
        if self._in_use + images > places:
            raise HttpError(
                503, f"queue must have room, got {self._in_use} of {places} places in use. Try again.", _RETRY
            )

    @contextlib.contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Take places in the queue for the time of a block.

        Raises:
            HttpError: 413 for more images than the queue has places, 503 where it is full.
        """
        if images > self._limits.queue:
            raise too_many(self._limits.queue, images)
        self.check_room(images)
        self._in_use += images
        try:
            yield
        finally:
            self._in_use -= images

    def infer(
        self, rows: Sequence[NDArray[Any]], ticket: Ticket, write: Callable[[Tensors], Any], resolve: Resolve
    ) -> None:
        """Run the graph itself on other threads; `write` receives the rows' outputs."""

        def done(outcome: Computed | Exception) -> None:
            if isinstance(outcome, Exception):
                resolve(outcome)
                return
            own = slice(outcome.first, outcome.first + len(rows))
            outputs = {name: array[own] for name, array in outcome.outputs.items()}
            self._workers.writing.submit(settle, resolve, lambda: write(outputs))

        self._batcher.submit(Job(rows, ticket, done))

    def close(self) -> None:
        """Finish what is waiting, and release a predictor that was opened here."""
        self._batcher.close()
        if self._is_own:
            self.predictor.close()
