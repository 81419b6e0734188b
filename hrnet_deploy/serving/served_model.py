"""One model of a server: its predictor, its batches and the threads around them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.decode_image import check_file
from hrnet_deploy.imaging.frame import Frame, Item
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.processing.image_pipeline import Prepared, Unusable
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.results import Result
from hrnet_deploy.serving.batching import Batcher, Computed, Job, Ticket
from hrnet_deploy.serving.http_error import HttpError
from hrnet_deploy.serving.limits import Limits
from hrnet_deploy.serving.metrics import Metrics
from hrnet_deploy.serving.pixel_budget import PixelBudget
from hrnet_deploy.serving.uploads import too_many
from hrnet_deploy.spec import Task


@dataclasses.dataclass(frozen=True)
class Workers:
    """Threads and memory that all models share.

    Attributes:
        reading: decodes and preprocesses; its threads may wait for `pixels`.
        writing: postprocesses and encodes; its threads never wait, so that pixels come free.
    """

    reading: ThreadPoolExecutor
    writing: ThreadPoolExecutor
    pixels: PixelBudget


class ServedModel:
    """An open model behind a name; used from the event loop.

    Attributes:
        name: name in URLs.
        predictor: the open artifact.
        card: its card.
        max_batch: largest batch of a request for the graph itself.
        sha256: digest of the file; None for a predictor that was given open.
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
        self.sha256 = None if isinstance(given, Predictor) else sha256_file(Path(given))
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

    @property
    def waiting(self) -> int:
        """Number of images that are prepared and wait for a stream."""
        return self._batcher.waiting

    @property
    def in_use(self) -> int:
        """Number of images that were accepted and have no result."""
        return self._in_use

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

    def predict(
        self,
        content: bytes,
        name: str,
        ticket: Ticket,
        *,
        keeps_image: bool,
        write: Callable[[Result], Any],
        resolve: Callable[[Any], None],
    ) -> None:
        """Classify or segment an image on other threads.

        Args:
            content: the encoded image.
            name: its name in the result.
            ticket: the request.
            keeps_image: whether `write` needs the pixels.
            write: converts the result, on a thread.
            resolve: receives what `write` returns, or the error; called on some thread, at most once.
        """
        self._workers.reading.submit(self._prepare, content, name, ticket, keeps_image, write, resolve)

    def infer(
        self, rows: Sequence[NDArray[Any]], ticket: Ticket, write: Callable[[Tensors], Any], resolve: _Resolve
    ) -> None:
        """Run the graph itself; `write` receives the rows' outputs."""

        def cut(computed: Computed) -> Tensors:
            own = slice(computed.first, computed.first + len(rows))
            return {name: array[own] for name, array in computed.outputs.items()}

        def done(outcome: Computed | Exception) -> None:
            if isinstance(outcome, Exception):
                resolve(outcome)
            else:
                self._workers.writing.submit(_resolved, resolve, lambda: write(cut(outcome)))

        self._batcher.submit(Job(rows, ticket, done))

    def check_size(self, height: int, width: int) -> None:
        """Refuse an input larger than the card's range, which bounds memory.

        Raises:
            ImageError: a larger input.
        """
        _, most_high, most_wide = self.card.shapes.max_nhw
        if height > most_high or width > most_wide:
            raise ImageError(
                f"model input must be at most {most_high}x{most_wide} (height x width), got {height}x{width}. "
                "Send a smaller image."
            )

    def close(self) -> None:
        """Finish what is waiting, and release a predictor that was opened here."""
        self._batcher.close()
        if self._is_own:
            self.predictor.close()

    def _prepare(
        self,
        content: bytes,
        name: str,
        ticket: Ticket,
        keeps_image: bool,  # noqa: FBT001
        write: Callable[[Result], Any],
        resolve: _Resolve,
    ) -> None:
        """Decode and preprocess, and hand over to the streams."""
        if ticket.abandoned:
            return
        try:
            pixels = self._checked_pixels(content, name)
        except ImageError as error:
            resolve(error)
            return
        self._workers.pixels.acquire(pixels)
        release = _once(functools.partial(self._workers.pixels.release, pixels))
        try:
            prepared = None if ticket.abandoned else self._decode(content, name)
        except Exception as error:  # noqa: BLE001 - given to the request
            release()
            resolve(error)
            return
        if prepared is None:
            release()
            return
        if not keeps_image:
            prepared.frame = _without_pixels(prepared.frame)
            if self.card.task is Task.CLASSIFICATION:
                release()
        finish = functools.partial(self._finish, prepared, write, _after(resolve, release))
        self._batcher.submit(Job([prepared.row], ticket, finish), may_run=True)

    def _checked_pixels(self, content: bytes, name: str) -> int:
        """Return the number of pixels that the header names; refuse too many."""
        size_hw = check_file(content, f"image '{name}'").size_hw
        pixels = math.prod(size_hw) if size_hw is not None else 0
        if pixels > self._limits.pixels:
            raise ImageError(
                f"image '{name}' must have at most {self._limits.pixels:,} pixels, got {pixels:,}. Send a smaller one."
            )
        return pixels

    def _decode(self, content: bytes, name: str) -> Prepared:
        """Decode and preprocess one image."""
        pipeline = self.predictor.pipeline
        frame = read_frame(content, name)
        self.check_size(*pipeline.preprocessor.output_hw((frame.image.shape[0], frame.image.shape[1])))
        prepared = pipeline.prepare(Item(name, lambda: frame))
        if isinstance(prepared, Unusable):
            raise prepared.error
        return prepared

    def _finish(
        self, prepared: Prepared, write: Callable[[Result], Any], resolve: _Resolve, outcome: Computed | Exception
    ) -> None:
        """Postprocess: in the stream's thread where that is quick and nothing waits for it."""
        if isinstance(outcome, Exception):
            resolve(outcome)
            return

        def result() -> Any:
            speed = {"preprocess": prepared.ms, "inference": outcome.share_ms}
            return write(self.predictor.pipeline.result(prepared.frame, speed, outcome.outputs, outcome.first))

        if self.card.task is Task.CLASSIFICATION and not self._batcher.waiting:
            _resolved(resolve, result)
        else:
            self._workers.writing.submit(_resolved, resolve, result)


_Resolve = Callable[[Any], None]
_RETRY = {"Retry-After": "1"}


def _resolved(resolve: _Resolve, work: Callable[[], Any]) -> None:
    """Hand over a result, or its error."""
    try:
        outcome = work()
    except Exception as error:  # noqa: BLE001 - given to the request
        outcome = error
    resolve(outcome)


def _after(resolve: _Resolve, release: Callable[[], None]) -> _Resolve:
    """Release before a result is handed over."""

    def both(outcome: Any) -> None:
        release()
        resolve(outcome)

    return both


def _once(call: Callable[[], None]) -> Callable[[], None]:
    """Make a function that does nothing the second time; both calls come from one request, one after the other."""
    left = [call]
    return lambda: left.pop()() if left else None


def _without_pixels(frame: Frame) -> Frame:
    """Replace the pixels by an array of the same shape that takes no memory."""
    return dataclasses.replace(frame, image=np.broadcast_to(np.zeros(3, np.uint8), frame.image.shape))
