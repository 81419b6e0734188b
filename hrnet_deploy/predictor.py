"""Predictor: one object from image to answer, whatever the artefact."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact import card_from_metadata
from hrnet_deploy.decode import label_map_at, ranked, softmax, upsampled_argmax
from hrnet_deploy.engines.opening import open_engine
from hrnet_deploy.errors import ArtifactError, ImageError, UsageError
from hrnet_deploy.labels import palette
from hrnet_deploy.preprocess import Preprocessor
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.results import ClassificationResult, Result, SegmentationResult
from hrnet_deploy.sources import Frame, frames, is_single
from hrnet_deploy.spec import ModelCard, OutputKind, Task

OnError = Callable[[str, ImageError], None]


class Predictor:
    """Runs an exported net on images; safe to call from several threads.

    Example:
        >>> predictor = Predictor("w18.onnx")
        >>> result = predictor.predict("cat.jpg")
        >>> result.label, result.score

    Attributes:
        card: what the artefact says of itself.
        device: where it really runs, such as "cpu" or "cuda:0".
        backend: what runs it, such as "onnxruntime".
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "auto",
        backend: str = "auto",
        threads: int | None = None,
        card: ModelCard | None = None,
    ) -> None:
        """Open an artefact.

        Args:
            path: an .onnx or .engine file made by hrnet-export. Engines are code: load only those you trust.
            device: "cpu", "cuda", "cuda:N", or "auto"; a device named here is used or refused, never replaced.
            backend: "onnxruntime", "onnxruntime-trt" or "openvino" for .onnx, "tensorrt" or "tensorrt-rtx" for engines;
                "auto" for the best of those installed.
            threads: CPU threads for one inference; None for all cores.
            card: for a file without one, or to override its own.

        Raises:
            MissingFileError: there is no such file.
            ArtifactError: it is damaged, or carries no card and none is given, or contradicts its card.
            DeviceError: the device is not there.
            MissingDependencyError: the runtime is not installed.
            UsageError: an unknown device or backend.
        """
        self._engine = open_engine(Path(path), device=device, backend=backend, threads=threads)
        self.card = card or card_from_metadata(self._engine.metadata, str(path))
        if (self._engine.inputs, self._engine.outputs) != (self.card.inputs, self.card.outputs):
            raise ArtifactError(
                f"{path} must have the inputs and outputs its card names, got {self._engine.inputs} and "
                f"{self._engine.outputs}. Export it again."
            )
        self.device, self.backend = self._engine.device, self._engine.backend
        self._input = self.card.inputs[0]
        self._preprocessor = Preprocessor(self.card.preprocessing)
        self._palette = palette(self.card.classes) if self.card.task is Task.SEGMENTATION else None
        self._buffers = threading.local()

    def predict(self, source: Any, *, stream: bool = False, batch: int = 1, on_error: OnError | None = None) -> Any:
        """Classify or segment.

        Args:
            source: path, bytes, BGR uint8 (H, W, 3) array or PIL image: one result; a list of those, a folder, a glob
                pattern, a video file or a camera index: a list of results.
            stream: yield results one by one as a generator, whatever the source; memory stays constant.
            batch: images per inference, at least 1.
            on_error: called with (name, error) for an item that cannot be read, which is then skipped; None raises.

        Returns:
            ClassificationResult or SegmentationResult, a list of them, or a generator.

        Raises:
            ImageError: an image that cannot be read or used.
            MissingFileError: there is no such file.
            UsageError: batch below 1.
            DeviceError: the runtime failed.
        """
        if batch < 1:
            raise UsageError(f"batch must be at least 1, got {batch}. Use 1 for one image at a time.")
        results = self._results(source, batch, on_error)
        if stream:
            return results
        if is_single(source) and on_error is None:
            (result,) = results
            return result
        return list(results)

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
        """Release the runtime."""
        self._engine.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _results(self, source: Any, batch: int, on_error: OnError | None) -> Iterator[Result]:
        pending: list[Frame] = []
        size_hw: tuple[int, int] | None = None
        for frame in frames(source, on_error=on_error):
            hw = self._preprocessor.output_hw((frame.image.shape[0], frame.image.shape[1]))
            if pending and (hw != size_hw or len(pending) == batch):
                yield from self._run(pending, size_hw)
                pending = []
            pending.append(frame)
            size_hw = hw
        if pending:
            yield from self._run(pending, size_hw)

    def _run(self, batch: list[Frame], size_hw: tuple[int, int] | None) -> Iterator[Result]:
        """Preprocess, infer and decode images that share one network size."""
        if size_hw is None:
            raise UsageError("a batch must hold an image, got none. Pass at least one.")
        fixed = self._input.shape[0]
        if isinstance(fixed, int) and len(batch) > fixed:
            for start in range(0, len(batch), fixed):
                yield from self._run(batch[start : start + fixed], size_hw)
            return
        count = fixed if isinstance(fixed, int) else len(batch)
        began = time.perf_counter()
        feed = self._fill(batch, size_hw, count)
        filled = time.perf_counter()
        outputs = self._engine.run({self._input.name: feed})
        ran = time.perf_counter()
        answers = self._decode(outputs, batch)
        share = 1e3 / len(batch)
        shared = {
            "preprocess": (filled - began) * share,
            "inference": (ran - filled) * share,
            "postprocess": (time.perf_counter() - ran) * share,
        }
        for frame, answer in zip(batch, answers, strict=True):
            speed = shared | {"preprocess": shared["preprocess"] + frame.decode_ms}
            yield self._result(frame, answer, speed)

    def _fill(self, batch: list[Frame], size_hw: tuple[int, int], count: int) -> NDArray[np.generic]:
        """The input array, reused by each thread; rows beyond the batch repeat whatever they held."""
        shape = (count, *size_hw, 3) if self.card.pixels_in else (count, 3, *size_hw)
        buffer: NDArray[Any] | None = getattr(self._buffers, "input", None)
        if buffer is None or buffer.shape != shape:
            buffer = self._buffers.input = np.zeros(shape, self._input.dtype)
        for row, frame in enumerate(batch):
            if self.card.pixels_in:
                buffer[row] = self._preprocessor.pixels(frame.image)
            else:
                self._preprocessor(frame.image, out=buffer[row])
        return buffer

    def _decode(self, outputs: Tensors, batch: list[Frame]) -> list[Any]:
        """One answer per image: (indices, scores), or a mask at the picture's size."""
        kind = self.card.output_kind
        first: NDArray[Any] = outputs[self.card.outputs[0].name]
        rows = range(len(batch))
        if self.card.task is Task.SEGMENTATION:
            sizes = [(frame.image.shape[0], frame.image.shape[1]) for frame in batch]
            if kind is OutputKind.LABELS:
                return [label_map_at(first[i], sizes[i]) for i in rows]
            return [upsampled_argmax(first[i], sizes[i], align_corners=self.card.align_corners) for i in rows]
        if kind is OutputKind.TOPK:
            scores = outputs[self.card.outputs[1].name]
            return [(first[i], scores[i]) for i in rows]
        logits = first.reshape(first.shape[0], -1)
        probabilities = softmax(logits) if kind is OutputKind.LOGITS else logits.astype(np.float32)
        return [ranked(probabilities[i]) for i in rows]

    def _result(self, frame: Frame, answer: Any, speed: dict[str, float]) -> Result:
        common: dict[str, Any] = {
            "name": frame.name,
            "path": frame.path,
            "image": frame.image,
            "classes": self.card.classes,
            "speed": speed,
        }
        if self._palette is not None:
            return SegmentationResult(**common, mask=answer, palette=self._palette)
        indices, scores = answer
        return ClassificationResult(**common, indices=indices, scores=scores)
