"""One net under test: from a picture to its input rows, and from its output rows to an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.metrics.classification import TOP, Ranking
from hrnet_deploy.evaluation.sliding_window import Sliding, blended_argmax, padded
from hrnet_deploy.processing.postprocess import best_classes, label_map_at, upsampled_argmax
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.processing.two_classes import cut_of, two_scores
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import ModelCard, OutputKind, Preprocessing, Resize, Task


class Model(Protocol):
    """What is evaluated: a Predictor, or anything that has these."""

    @property
    def card(self) -> ModelCard:
        """What the net says of itself."""
        ...

    @property
    def device(self) -> str:
        """Where it runs, such as "cpu"."""
        ...

    def infer(self, batch: Mapping[str, NDArray[np.generic]] | NDArray[np.generic]) -> Tensors:
        """Run the graph: {input name: array} to {output name: array}; one call at a time, or one a stream."""
        ...


@dataclass(frozen=True, eq=False)
class InputRows:
    """A picture as network input: one row, or one a window.

    Attributes:
        values: float32 (k, 3, h, w), or uint8 (k, h, w, 3) for a graph that normalises.
        corners: (top, left) of each window; () for the whole picture.
    """

    values: NDArray[np.generic]
    corners: tuple[tuple[int, int], ...] = ()


Outputs = tuple[NDArray[Any], ...]
"""One row of each graph output."""


class ModelRunner:
    """A model with its preprocessing and decoding; its methods may be called from several threads.

    Attributes:
        model: the model.
        card: its card.
    """

    def __init__(self, model: Model, sliding: Sliding | None = None) -> None:
        """Check that the model can be run so.

        Args:
            model: opened.
            sliding: windows over the picture; None to bring the picture to the model's size.

        Raises:
            UsageError: windows for a classifier, for a graph without logits, or of a size the graph does not take.
        """
        self.model = model
        self.card = model.card
        self._sliding = sliding
        spec = self.card.preprocessing
        if sliding is not None:
            self._check(sliding)
            spec = replace(spec, resize=Resize.NONE, size_hw=None)
        self._spec = spec
        self._preprocessor = Preprocessor(spec)
        fixed = self.card.inputs[0].shape[0]
        self._fixed_batch = fixed if isinstance(fixed, int) else None

    @property
    def streams(self) -> int:
        """How many runs the model computes side by side; 1 where it does not say."""
        return int(getattr(self.model, "streams", 1))

    @property
    def preparation(self) -> tuple[Preprocessing, bool]:
        """What its input depends on; models that share it share their rows."""
        return self._spec, self.card.pixels_in

    def prepare(self, image: NDArray[np.uint8]) -> InputRows:
        """Bring a picture to the net's size, or cut it into windows.

        Args:
            image: BGR uint8 (H, W, 3).

        Returns:
            Its rows.

        Raises:
            ImageError: of a size that cannot be used.
        """
        make = self._preprocessor.pixels if self.card.pixels_in else self._preprocessor
        if self._sliding is None:
            return InputRows(make(image)[None])
        size_hw = (image.shape[0], image.shape[1])
        whole = padded(image, self._sliding.padded_hw(size_hw))
        corners = self._sliding.corners((whole.shape[0], whole.shape[1]))
        height, width = self._sliding.window_hw
        windows = [make(whole[top : top + height, left : left + width]) for top, left in corners]
        return InputRows(np.stack(windows), tuple(corners))

    def run(self, pictures: Sequence[InputRows], batch: int) -> list[list[Outputs]]:
        """Run the graph on several pictures.

        Args:
            pictures: their rows; rows of one size in a sequence share a batch.
            batch: rows per run, where the graph leaves it open.

        Returns:
            For each picture, for each of its rows, one row of each output.

        Raises:
            DeviceError: the runtime failed.
        """
        rows = [(number, row) for number, picture in enumerate(pictures) for row in picture.values]
        found: list[list[Outputs]] = [[] for _ in pictures]
        for part in _alike(rows, self._fixed_batch or batch):
            outputs = self._infer([row for _, row in part])
            for place, (number, _) in enumerate(part):
                found[number].append(tuple(output[place] for output in outputs))
        return found

    def ranking(self, outputs: Sequence[Outputs]) -> Ranking:
        """Decode a classifier's answer.

        Args:
            outputs: the picture's one row.

        Returns:
            The best classes.
        """
        (row,) = outputs
        if self.card.output_kind is OutputKind.TOPK:
            indices, scores = row[0].astype(np.int64), row[1].astype(np.float32)
        else:
            indices, scores = best_classes(row[0], self.card.output_kind, self.card.threshold)
        return Ranking(tuple(indices[:TOP].tolist()), tuple(scores[:TOP].tolist()))

    def mask(self, outputs: Sequence[Outputs], rows: InputRows, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """Decode a segmenter's answer: logits are upsampled bilinearly, then the best class is taken.

        Args:
            outputs: one row of each output for each of the picture's rows.
            rows: what the answer is to.
            size_hw: (height, width) of the label image.

        Returns:
            uint8 (height, width), class indices.
        """
        cut = cut_of(self.card.threshold, self.card.output_kind)
        if self._sliding is not None:
            return blended_argmax(
                [two_scores(row[0], cut) for row in outputs],
                rows.corners,
                self._sliding.window_hw,
                size_hw,
                align_corners=self.card.align_corners,
            )
        ((first, *_),) = outputs
        if self.card.output_kind is OutputKind.LABELS:
            return label_map_at(first, size_hw)
        return upsampled_argmax(two_scores(first, cut), size_hw, align_corners=self.card.align_corners)

    def segment(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One picture from start to end, as an evaluation answers it; for drawing what changed.

        Args:
            image: BGR uint8 (H, W, 3).

        Returns:
            uint8 (H, W), class indices.

        Raises:
            ImageError: of a size that cannot be used.
            DeviceError: the runtime failed.
        """
        rows = self.prepare(image)
        (outputs,) = self.run([rows], batch=len(rows.values))
        return self.mask(outputs, rows, (image.shape[0], image.shape[1]))

    def _infer(self, rows: list[NDArray[np.generic]]) -> list[NDArray[Any]]:
        spec = self.card.inputs[0]
        count = len(rows)
        rows = rows + [rows[-1]] * (self.card.least_batch - count)
        feed = rows[0][None] if len(rows) == 1 else np.stack(rows)
        found = self.model.infer({spec.name: feed.astype(spec.dtype, copy=False)})
        return [found[output.name] for output in self.card.outputs]

    def _check(self, sliding: Sliding) -> None:
        if self.card.task is not Task.SEGMENTATION:
            raise UsageError("sliding windows are for segmentation, got a classification model. Leave the window out.")
        if self.card.output_kind is OutputKind.LABELS:
            raise UsageError(
                "sliding windows need the net's logits, got a graph that answers with labels. Export it without"
                " --labels-out."
            )
        shape = self.card.inputs[0].shape
        height_width = shape[1:3] if self.card.pixels_in else shape[2:4]
        for side, want in zip(height_width, sliding.window_hw, strict=True):
            if isinstance(side, int) and side != want:
                size = "x".join(str(side) for side in height_width)
                raise UsageError(
                    f"window must have the graph's size {size} (height x width), got"
                    f" {sliding.window_hw[0]}x{sliding.window_hw[1]}. Use that, or export with open sizes."
                )


def _alike(
    rows: Sequence[tuple[int, NDArray[np.generic]]], batch: int
) -> Iterator[list[tuple[int, NDArray[np.generic]]]]:
    """Runs of rows of one shape, at most `batch` long."""
    part: list[tuple[int, NDArray[np.generic]]] = []
    for row in rows:
        if part and (len(part) == batch or row[1].shape != part[0][1].shape):
            yield part
            part = []
        part.append(row)
    if part:
        yield part
