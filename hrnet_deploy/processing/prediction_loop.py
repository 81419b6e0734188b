"""Items of a source to results: one by one, or with reading, inference and decoding on threads of their own."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from hrnet_deploy.errors import UsageError
from hrnet_deploy.imaging.frame import Frame, Item
from hrnet_deploy.imaging.sources import OnError, as_image_error, is_live, is_single, items
from hrnet_deploy.limits import BATCH
from hrnet_deploy.processing.batch_buffer import BatchBuffer
from hrnet_deploy.processing.image_pipeline import ImagePipeline, Prepared, Unusable
from hrnet_deploy.processing.prefetch import bucketed, in_order, ordered, readers
from hrnet_deploy.protocols import Engine, Tensors
from hrnet_deploy.spec import ModelCard, Task

Decode = Callable[[Frame, dict[str, float], Tensors, int], Any]
"""Makes the result of one image from the outputs of its batch, as `ImagePipeline.result` does."""
Submit = Callable[..., "Future[Any]"]
Entry = Prepared | Unusable
Outcome = Future[Any] | Unusable


class PredictionLoop:
    """Feeds items to an engine and yields their results in order; safe to use from several threads."""

    def __init__(self, engine: Engine, card: ModelCard, streams: int, threads: int | None) -> None:
        self.pipeline = ImagePipeline(card)
        self._streams = streams
        self._engine = engine
        self._input = card.inputs[0]
        self._reader_count = readers(threads)
        self._buffer = BatchBuffer(card)

    def run(
        self,
        source: Any,
        decode: Decode,
        *,
        on_error: OnError | None = None,
        batch: int = 1,
        draft: bool = False,
        allow_url: bool = False,
    ) -> Iterator[Any]:
        """Run a source through the model, in the caller's thread if it is one image or live.

        The arguments are those of `Predictor.predict`; `decode` makes the result of an image.

        Returns:
            Iterator of what `decode` returned, in the order of the images.

        Raises:
            UsageError: batch below 1 or above `limits.BATCH`, or a draft for a model that segments.
        """
        if not 1 <= batch <= BATCH:
            raise UsageError(f"batch must be 1 to {BATCH}, got {batch}. Use 1 for one image at a time.")
        if draft and self.pipeline.card.task is Task.SEGMENTATION:
            raise UsageError(
                "draft must be False for a model that segments, got True. Its masks have the image's own size."
            )
        draft_px = self.pipeline.preprocessor.min_px if draft else None
        found = items(source, draft_px=draft_px, allow_url=allow_url)
        if is_single(source) or is_live(source):
            return self._one_by_one(found, on_error, decode)
        return self._read_ahead(found, batch, on_error, decode)

    def _one_by_one(self, found: Iterator[Item], on_error: OnError | None, decode: Decode) -> Iterator[Any]:
        """Do everything in the caller's thread."""
        for item in found:
            for _, outcome in self._run(_submit_here, decode, [(0, self.pipeline.prepare(item))]):
                if (result := _result(outcome, on_error)) is not None:
                    yield result

    def _read_ahead(self, found: Iterator[Item], batch: int, on_error: OnError | None, decode: Decode) -> Iterator[Any]:
        """Read, infer and decode on threads of their own; the caller's thread takes items and receives results."""
        fixed, streams = self._input.shape[0], self._streams
        size = fixed if isinstance(fixed, int) else batch
        reading = ThreadPoolExecutor(self._reader_count, thread_name_prefix="hrnet-read")
        running = ThreadPoolExecutor(streams, thread_name_prefix="hrnet-run")
        window = size * streams + self._reader_count
        entries = ordered(reading, self.pipeline.prepare, found, most=window)
        groups = bucketed(entries, size, key=_shape, window=window)
        run = functools.partial(self._run, reading.submit, decode)
        try:
            # One group more than streams: the next batch is ready when the model has finished one.
            with contextlib.closing(ordered(running, run, groups, most=streams + 1)) as outcomes:
                for outcome in in_order(itertools.chain.from_iterable(outcomes)):
                    if (result := _result(outcome, on_error)) is not None:
                        yield result
        finally:
            # Inference threads first: they submit work to the readers.
            running.shutdown(wait=True, cancel_futures=True)
            reading.shutdown(wait=True, cancel_futures=True)

    def _run(self, submit: Submit, decode: Decode, placed: list[tuple[int, Entry]]) -> list[tuple[int, Outcome]]:
        """Infer images of one size, and submit the decoding of each; positions stay."""
        used = [entry for _, entry in placed if isinstance(entry, Prepared)]
        outputs: Tensors = {}
        share_ms = 0.0
        if used:
            began = time.perf_counter()
            outputs = self._engine.run({self._input.name: self._buffer.stack([entry.row for entry in used])})
            share_ms = 1e3 * (time.perf_counter() - began) / len(used)
        index = itertools.count()

        def decoded(entry: Entry) -> Outcome:
            if isinstance(entry, Unusable):
                return entry
            speed = {"preprocess": entry.ms, "inference": share_ms}
            return submit(decode, entry.frame, speed, outputs, next(index))

        return [(place, decoded(entry)) for place, entry in placed]


def _shape(entry: Entry) -> tuple[int, ...] | None:
    return entry.row.shape if isinstance(entry, Prepared) else None


def _result(outcome: Outcome, on_error: OnError | None) -> Any:
    """Wait for the result; None for an item that is skipped."""
    if isinstance(outcome, Future):
        return outcome.result()
    if on_error is None:
        raise outcome.error
    on_error(outcome.name, as_image_error(outcome.error))
    return None


def _submit_here(work: Callable[..., Any], *args: Any) -> Future[Any]:
    """Do what an executor's `submit` does, at once and in this thread."""
    done: Future[Any] = Future()
    done.set_result(work(*args))
    return done
