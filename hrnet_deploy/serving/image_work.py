"""The way of one image through a model: decoding, a batch, postprocessing, each on its own threads."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.decode_image import check_file
from hrnet_deploy.imaging.frame import Frame, Item
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.processing.image_pipeline import Prepared, Unusable
from hrnet_deploy.results import Result
from hrnet_deploy.serving.batching import AbandonedError, Batcher, Computed, Job, Ticket
from hrnet_deploy.serving.limits import Limits
from hrnet_deploy.serving.pixel_budget import PixelBudget
from hrnet_deploy.serving.workers import Resolve, Workers, settle
from hrnet_deploy.spec import ModelCard, Task


@dataclass(frozen=True, eq=False)
class ImageRequest:
    """One image of a request.

    Attributes:
        content: the encoded image; only bytes reach the decoder, so no text of a client names a file.
        name: its name in the result.
        keeps_image: whether `write` needs the pixels.
        write: converts the result, on a thread.
        resolve: receives what `write` returns, or the error; called once.
    """

    content: bytes
    name: str
    ticket: Ticket
    keeps_image: bool
    write: Callable[[Result], Any]
    resolve: Resolve


@dataclass
class _Held:
    """Pixels of an image that count against the budget until they are released, once."""

    budget: PixelBudget
    pixels: int = 0
    is_held: bool = field(default=False)

    def acquire(self, pixels: int) -> None:
        self.budget.acquire(pixels)
        self.pixels, self.is_held = pixels, True

    def release(self) -> None:
        if self.is_held:
            self.is_held = False
            self.budget.release(self.pixels)


class ImageWork:
    """Takes images to a predictor's results."""

    def __init__(self, predictor: Predictor, batcher: Batcher, workers: Workers, limits: Limits) -> None:
        self._predictor, self._batcher, self._workers, self._limits = predictor, batcher, workers, limits
        self._is_classifier = predictor.card.task is Task.CLASSIFICATION

    def start(self, request: ImageRequest) -> None:
        """Classify or segment an image on other threads."""
        self._workers.reading.submit(self._prepare, request)

    def _prepare(self, request: ImageRequest) -> None:
        """Decode and preprocess, and hand over to the streams."""
        held = _Held(self._workers.pixels)
        try:
            prepared = self._decode(request, held)
        except Exception as error:  # noqa: BLE001 - handed to the request
            held.release()
            request.resolve(error)
            return
        if not request.keeps_image:
            prepared.frame = _without_pixels(prepared.frame)
            if self._is_classifier:
                held.release()
        finish = functools.partial(self._finish, request, prepared, held)
        self._batcher.submit(Job([prepared.row], request.ticket, finish), may_run=True)

    def _decode(self, request: ImageRequest, held: _Held) -> Prepared:
        """Decode and preprocess one image, within the limits."""
        pipeline = self._predictor.pipeline
        _refuse_abandoned(request.ticket)
        held.acquire(self._checked_pixels(request))
        _refuse_abandoned(request.ticket)
        frame = read_frame(request.content, request.name)
        input_hw = pipeline.preprocessor.output_hw((frame.image.shape[0], frame.image.shape[1]))
        check_size(self._predictor.card, *input_hw)
        prepared = pipeline.prepare(Item(request.name, lambda: frame))
        if isinstance(prepared, Unusable):
            raise prepared.error
        return prepared

    def _checked_pixels(self, request: ImageRequest) -> int:
        """Return the number of pixels that the header names; refuse too many."""
        size_hw = check_file(request.content, f"image '{request.name}'").size_hw
        pixels = self._limits.pixels if size_hw is None else math.prod(size_hw)
        if pixels > self._limits.pixels:
            raise ImageError(
                f"image '{request.name}' must have at most {self._limits.pixels:,} pixels, got {pixels:,}. "
                "Send a smaller one."
            )
        return pixels

    def _finish(self, request: ImageRequest, prepared: Prepared, held: _Held, outcome: Computed | Exception) -> None:
        """Postprocess: in the stream's thread where that is quick and nothing waits for it."""

        def work() -> Any:
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                speed = {"preprocess": prepared.ms, "inference": outcome.share_ms}
                pipeline = self._predictor.pipeline
                return request.write(pipeline.result(prepared.frame, speed, outcome.outputs, outcome.first))
            finally:
                held.release()

        if isinstance(outcome, Exception) or (self._is_classifier and not self._batcher.waiting):
            settle(request.resolve, work)
        else:
            self._workers.writing.submit(settle, request.resolve, work)


def check_size(card: ModelCard, height: int, width: int) -> None:
    """Refuse an input larger than the card's range, which bounds memory.

    Raises:
        ImageError: a larger input.
    """
    _, most_high, most_wide = card.shapes.max_nhw
    if height > most_high or width > most_wide:
        raise ImageError(
            f"model input must be at most {most_high}x{most_wide} (height x width), got {height}x{width}. "
            "Send a smaller image."
        )


def _refuse_abandoned(ticket: Ticket) -> None:
    """End the work on an image that no client waits for."""
    if ticket.abandoned:
        raise AbandonedError


def _without_pixels(frame: Frame) -> Frame:
    """Replace the pixels by an array of the same shape that takes no memory."""
    return dataclasses.replace(frame, image=np.broadcast_to(np.zeros(3, np.uint8), frame.image.shape))
