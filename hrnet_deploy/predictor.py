"""Predictor: one object from image to answer, whatever the artefact."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.imaging.sources import Item, OnError, as_image_error, is_live, is_single, items
from hrnet_deploy.models.zoo import has_name
from hrnet_deploy.processing.image_pipeline import PerImage, Prepared, Unusable
from hrnet_deploy.processing.prefetch import bucketed, in_order, ordered, readers
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.result_list import Results
from hrnet_deploy.results import Result
from hrnet_deploy.spec import ModelCard, Task, TensorSpec

Submit = Callable[..., "Future[Result]"]
Entry = Prepared | Unusable

_SUFFIXES = frozenset({".onnx", ".engine"})


class Predictor:
    """Runs an exported net on images; safe to call from several threads, and picklable: a copy opens the file again.

    Example:
        >>> predictor = Predictor("w18.onnx")
        >>> result = predictor.predict("cat.jpg")
        >>> result.label, result.score

    Attributes:
        card: what the artefact says of itself.
        device: where it really runs, such as "cpu" or "cuda:0".
        backend: what runs it, such as "onnxruntime".
        arithmetic: what it computes in, such as "float32", "bfloat16" or "int8 and float32".
        streams: inferences side by side when there is more than one image.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        backend: str = "auto",
        threads: int | None = None,
        streams: int | None = 1,
        card: ModelCard | None = None,
    ) -> None:
        """Open an artefact.

        Args:
            path: an .onnx or .engine file made by hrnet-export. Engines are code: load only those you trust.
            device: "cpu", "cuda", "cuda:N", or "auto"; a device named here is used or refused, never replaced.
            backend: "onnxruntime", "onnxruntime-trt", "onnxruntime-rtx" or "openvino" for .onnx, "tensorrt" or
                "tensorrt-rtx" for engines; "auto" for the best of those installed.
            threads: CPU threads for inference, and at most half as many (1 to 8) for reading ahead; None for all
                cores. With several predictors or processes on one machine, let their threads add up to its cores.
                OpenCV's own threads are the application's: `cv2.setNumThreads` is never called here.
            streams: inferences side by side on the CPU, which share the threads. 1 gives the lowest latency of a single
                image; more give more images a second from folders, streams and threads of yours, and need memory each.
                None for what suits machine and net.
            card: for a file without one, or to override its own.

        Raises:
            MissingFileError: there is no such file.
            ArtifactError: it is damaged, or carries no card and none is given, or contradicts its card.
            DeviceError: the device is not there.
            MissingDependencyError: the runtime is not installed.
            UsageError: an unknown device or backend, streams below 1, or a zoo name.
        """
        if Path(path).suffix not in _SUFFIXES and has_name(str(path)) and not Path(path).exists():
            raise UsageError(
                f"artefact must be a file, got the zoo name {path}. Make one: hrnet-export {path} -o NAME.onnx; "
                "hrnet-predict does so by itself."
            )
        # First, while nothing but the arguments is there: a pickled copy is made from them.
        self._options = {name: value for name, value in locals().items() if name not in {"self", "path"}}
        self._path = Path(path).absolute()  # the copy may live in another folder
        self._engine = open_engine(Path(path), device=device, backend=backend, threads=threads, streams=streams)
        try:
            self._adopt(path, card)
        except BaseException:
            self._engine.close()
            raise
        self._buffers = threading.local()
        self._threads = threads

    def _adopt(self, path: str | Path, card: ModelCard | None) -> None:
        """Take up what the engine and its card say."""
        self.card = card or card_from_metadata(self._engine.metadata, str(path))
        specs = (*self._engine.inputs, *self._engine.outputs), (*self.card.inputs, *self.card.outputs)
        if len(specs[0]) != len(specs[1]) or not all(map(_agree, *specs)):
            raise ArtifactError(
                f"{path} must have the inputs and outputs its card names, got {self._engine.inputs} and "
                f"{self._engine.outputs}. Export it again."
            )
        self.device, self.backend, self.streams = self._engine.device, self._engine.backend, self._engine.streams
        self.arithmetic = self._engine.arithmetic
        self._input = self.card.inputs[0]
        self._work = PerImage(self.card)

    def predict(
        self,
        source: Any,
        *,
        stream: bool = False,
        batch: int = 1,
        on_error: OnError | None = None,
        draft: bool = False,
        allow_url: bool = False,
    ) -> Any:
        """Classify or segment.

        Of more than one image, those to come are read and prepared on other threads while the net runs on one of its
        own for each stream; at most two batches a stream, two more and a few images are held at a time;
        cameras are not read ahead. Where a net takes images of several sizes, up to one more batch a stream and a few
        images are held, so that those of one size run together; results keep the order of the images.

        Args:
            source: path, bytes, open binary file, BGR uint8 (H, W, 3) array or PIL image: one result; a list of those,
                a folder, a glob pattern, a video file or a camera index: a list of results.
            stream: yield results one by one as a generator, whatever the source; memory stays constant. Closing the
                generator, or leaving it to be collected, ends its threads.
            batch: images per inference, at least 1; filled up to the smallest the artefact takes.
            on_error: called with (name, error) for an item that cannot be read, which is then skipped; None raises,
                after the results of what came before it. It runs in the caller's thread, in order.
            draft: decode large JPEGs at a half, a quarter or an eighth of their size where the net needs no more;
                faster, but not exact: `result.image` is smaller, and so may be scores. Only for nets that classify.
            allow_url: fetch sources that are http(s) URLs, of at most 256 MiB; they are refused otherwise.

        Returns:
            ClassificationResult or SegmentationResult, a list of them (`Results`, with `to_df`), or a generator.

        Raises:
            ImageError: an image that cannot be read or used.
            MissingFileError: there is no such file.
            UsageError: batch below 1, or a draft for a net that segments.
            DeviceError: the runtime failed.
        """
        if batch < 1:
            raise UsageError(f"batch must be at least 1, got {batch}. Use 1 for one image at a time.")
        found = items(source, draft_px=self._work.preprocessor.least_px if draft else None, allow_url=allow_url)
        if draft and self.card.task is Task.SEGMENTATION:
            raise UsageError(
                "draft must be False for a net that segments, got True. Its masks have the picture's size."
            )
        single = is_single(source)
        if single or is_live(source):
            results = self._one_by_one(found, on_error)
        else:
            results = self._ahead(found, batch, on_error)
        if stream:
            return results
        return next(results) if single and on_error is None else Results(results)

    def infer(self, batch: Mapping[str, NDArray[np.generic]] | NDArray[np.generic]) -> Tensors:
        """Run the graph itself, with no pre- or post-processing.

        Args:
            batch: {input name: array}, or the one array.

        Returns:
            {output name: array}.

        Raises:
            UsageError: a missing, unknown or ill-shaped input.
            DeviceError: the runtime failed.
        """
        return self._engine.run(batch if isinstance(batch, Mapping) else {self._input.name: batch})

    def close(self) -> None:
        """Release the runtime; the predictor cannot run afterwards."""
        self._engine.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **self._options), (self._path,)

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _one_by_one(self, found: Iterator[Item], on_error: OnError | None) -> Iterator[Result]:
        """Everything in the caller's thread."""
        for item in found:
            entry = self._work.prepare(item)
            for answer in self._answer(_here, [entry]):
                if (result := _settled(answer, on_error)) is not None:
                    yield result

    def _ahead(self, found: Iterator[Item], batch: int, on_error: OnError | None) -> Iterator[Result]:
        """Reading, inference and decoding each on threads of their own; the caller's takes items and hands out."""
        count = readers(self._threads)
        fixed = self._input.shape[0]
        size = fixed if isinstance(fixed, int) else batch
        reading = ThreadPoolExecutor(count, thread_name_prefix="hrnet-read")
        running = ThreadPoolExecutor(self.streams, thread_name_prefix="hrnet-run")
        ahead = size * self.streams + count
        rows = ordered(reading, self._work.prepare, found, most=ahead)
        groups = bucketed(rows, size, key=_shape, window=ahead)
        answer = functools.partial(self._answer_placed, reading.submit)
        try:
            # One more than run: the next batch is ready when the net has done one.
            with contextlib.closing(ordered(running, answer, groups, most=self.streams + 1)) as answered:
                for one in in_order(itertools.chain.from_iterable(answered)):
                    if (result := _settled(one, on_error)) is not None:
                        yield result
        finally:
            # The net's threads first, as they hand work to the others.
            running.shutdown(wait=True, cancel_futures=True)
            reading.shutdown(wait=True, cancel_futures=True)

    def _answer(self, submit: Submit, entries: list[Entry]) -> list[Future[Result] | Unusable]:
        """Infer images of one size, and have each decoded."""
        used = [entry for entry in entries if isinstance(entry, Prepared)]
        answers: Iterator[Future[Result]] = iter(())
        if used:
            began = time.perf_counter()
            outputs = self._engine.run({self._input.name: self._feed([entry.row for entry in used])})
            share_ms = 1e3 * (time.perf_counter() - began) / len(used)
            answers = iter(
                [
                    submit(self._work.result, entry.frame, {"preprocess": entry.ms, "inference": share_ms}, outputs, i)
                    for i, entry in enumerate(used)
                ]
            )
        return [next(answers) if isinstance(entry, Prepared) else entry for entry in entries]

    def _answer_placed(
        self, submit: Submit, placed: list[tuple[int, Entry]]
    ) -> list[tuple[int, Future[Result] | Unusable]]:
        """As `_answer`, each with its place in the order."""
        answers = self._answer(submit, [entry for _, entry in placed])
        return [(place, answer) for (place, _), answer in zip(placed, answers, strict=True)]

    def _feed(self, rows: list[NDArray[Any]]) -> NDArray[Any]:
        """The input array: of one image its own memory, else one that each thread reuses.

        Rows beyond the images, where the net takes no fewer, repeat whatever they held.
        """
        count = max(len(rows), self.card.least_batch)
        dtype = np.dtype(self._input.dtype)
        if count == len(rows) == 1 and rows[0].dtype == dtype:
            return rows[0][None]
        shape = (count, *rows[0].shape)
        buffer: NDArray[Any] | None = getattr(self._buffers, "input", None)
        if buffer is None or buffer.shape[1:] != shape[1:] or len(buffer) < count:
            buffer = self._buffers.input = np.zeros(shape, dtype)
        for place, row in zip(buffer, rows, strict=False):
            place[...] = row
        return buffer[:count]


def _shape(entry: Entry) -> tuple[int, ...] | None:
    return entry.row.shape if isinstance(entry, Prepared) else None


def _settled(answer: Future[Result] | Unusable, on_error: OnError | None) -> Result | None:
    """The result; None for an item that is skipped."""
    if isinstance(answer, Future):
        return answer.result()
    if on_error is None:
        raise answer.error
    on_error(answer.name, as_image_error(answer.error))
    return None


def _here(work: Callable[..., Result], *args: Any) -> Future[Result]:
    """What an executor's `submit` does, at once and in this thread."""
    done: Future[Result] = Future()
    done.set_result(work(*args))
    return done


def _agree(spec: TensorSpec, other: TensorSpec) -> bool:
    """Same name, type and sizes; an open size may be called otherwise, as in an engine without a card of its own."""
    same = (spec.name, spec.dtype, len(spec.shape)) == (other.name, other.dtype, len(other.shape))
    return same and all(
        a == b or (isinstance(a, str) and isinstance(b, str)) for a, b in zip(spec.shape, other.shape, strict=True)
    )
