"""One evaluated model: from an image to its input rows, and from its output rows to a prediction."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.evaluation.metrics.classification import TOP, Ranking
from hrnet_deploy.evaluation.sliding_window import SlidingWindow, blended_argmax, pad_image
from hrnet_deploy.processing.model_io import decode_classes, decode_mask, network_input
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.processing.two_classes import cut_of, two_scores
from hrnet_deploy.protocols import Engine, Tensors
from hrnet_deploy.spec import ModelCard, OutputKind, Preprocessing, Resize, Task

Feed = Mapping[str, NDArray[np.generic]] | NDArray[np.generic]
"""{input name: array}, or the array of a model with one input."""
Outputs = tuple[NDArray[Any], ...]
"""One row of each graph output."""


class Model(Protocol):
    """What an evaluation runs: a Predictor, or any object with the same members."""

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        ...

    @property
    def device(self) -> str:
        """Device it runs on, such as "cpu"."""
        ...

    def infer(self, batch: Feed) -> Tensors:
        """Run the graph and return {output name: array}; called from as many threads as the model has streams."""
        ...


class EngineModel:
    """An engine with a card, as a `Model`."""

    def __init__(self, engine: Engine, card: ModelCard) -> None:
        self._engine, self.card = engine, card
        self.device, self.backend, self.arithmetic = engine.device, engine.backend, engine.arithmetic

    def infer(self, batch: Feed) -> Tensors:
        """Run the graph and return {output name: array}."""
        return self._engine.run(batch if isinstance(batch, Mapping) else {self.card.inputs[0].name: batch})


@dataclass(frozen=True, eq=False)
class InputRows:
    """An image as network input: one row, or one per window.

    Attributes:
        values: float32 (k, 3, h, w), or uint8 (k, h, w, 3) for a graph that normalizes.
        corners: (top, left) of each window; () for the whole image.
    """

    values: NDArray[np.generic]
    corners: tuple[tuple[int, int], ...] = ()


class ModelRunner:
    """A model with its preprocessing and decoding; its methods may be called from several threads."""

    def __init__(self, model: Model, sliding: SlidingWindow | None = None) -> None:
        """Check that the model supports the windows; None resizes images to the model's size.

        Raises:
            UsageError: windows for a classifier, for a graph without logits, or of a size the graph does not take.
        """
        self.model, self.card = model, model.card
        self._sliding = sliding
        spec = self.card.preprocessing
        if sliding is not None:
            self._check_windows(sliding)
            spec = replace(spec, resize=Resize.NONE, size_hw=None)
        self._spec = spec
        self._preprocessor = Preprocessor(spec)

    @property
    def streams(self) -> int:
        """Runs the model computes side by side; 1 if the model does not specify it."""
        return int(getattr(self.model, "streams", 1))

    @property
    def input_key(self) -> tuple[Preprocessing, bool]:
        """What the input depends on; models with equal keys share their rows."""
        return self._spec, self.card.pixels_in

    def prepare(self, image: NDArray[np.uint8]) -> InputRows:
        """Resize an image, BGR uint8 (H, W, 3), to the model's size, or cut it into windows.

        Raises:
            ImageError: its size cannot be used.
        """
        if self._sliding is None:
            return InputRows(network_input(self.card, self._preprocessor, image)[None])
        whole = pad_image(image, self._sliding.padded_hw((image.shape[0], image.shape[1])))
        corners = self._sliding.corners((whole.shape[0], whole.shape[1]))
        height, width = self._sliding.window_hw
        windows = (whole[top : top + height, left : left + width] for top, left in corners)
        rows = [network_input(self.card, self._preprocessor, window) for window in windows]
        return InputRows(np.stack(rows), tuple(corners))

    def run(self, images: Sequence[InputRows], batch: int) -> list[list[Outputs]]:
        """Run the graph on several images; consecutive rows of one size share a batch.

        Args:
            images: their rows.
            batch: rows per run, unless the graph has a fixed batch.

        Returns:
            For each image, for each of its rows, one row of each output.

        Raises:
            DeviceError: the runtime failed.
            ArtifactError: an output has fewer rows than the batch.
        """
        rows = [(number, row) for number, image in enumerate(images) for row in image.values]
        fixed = self.card.inputs[0].shape[0]
        batch = fixed if isinstance(fixed, int) else batch
        results: list[list[Outputs]] = [[] for _ in images]
        for _, same in itertools.groupby(rows, key=lambda numbered: numbered[1].shape):
            of_one_shape = list(same)
            for start in range(0, len(of_one_shape), batch):
                part = of_one_shape[start : start + batch]
                outputs = self._infer([row for _, row in part])
                if any(not output.ndim or len(output) < len(part) for output in outputs):
                    raise ArtifactError("model must compute a row for each image, got fewer. Use batch 1.")
                for position, (number, _) in enumerate(part):
                    results[number].append(tuple(output[position] for output in outputs))
        return results

    def ranking(self, outputs: Sequence[Outputs]) -> Ranking:
        """Decode a classifier's outputs for the one row of an image."""
        (row,) = outputs
        indices, scores = decode_classes(self.card, row)
        return Ranking(tuple(indices[:TOP].tolist()), tuple(scores[:TOP].tolist()))

    def mask(self, outputs: Sequence[Outputs], rows: InputRows, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
        """Decode the outputs for an image's rows to a mask of class indices, uint8 (height, width)."""
        if self._sliding is None:
            ((output, *_),) = outputs
            return decode_mask(self.card, output, size_hw)
        cut = cut_of(self.card.threshold, self.card.output_kind)
        logits, window_hw = [two_scores(row[0], cut) for row in outputs], self._sliding.window_hw
        return blended_argmax(logits, rows.corners, window_hw, size_hw, align_corners=self.card.align_corners)

    def segment(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Predict the mask of an image, BGR uint8 (H, W, 3), as class indices, uint8 (H, W); windows run one by one.

        Raises:
            ImageError: its size cannot be used.
            DeviceError: the runtime failed.
            ArtifactError: an output has fewer rows than the batch.
        """
        rows = self.prepare(image)
        (outputs,) = self.run([rows], batch=1)
        return self.mask(outputs, rows, (image.shape[0], image.shape[1]))

    def _infer(self, rows: list[NDArray[np.generic]]) -> list[NDArray[Any]]:
        """Run one batch, filled up to the smallest batch of the graph."""
        spec = self.card.inputs[0]
        rows = rows + [rows[-1]] * (self.card.least_batch - len(rows))
        feed = rows[0][None] if len(rows) == 1 else np.stack(rows)
        outputs = self.model.infer({spec.name: feed.astype(spec.dtype, copy=False)})
        return [outputs[output.name] for output in self.card.outputs]

    def _check_windows(self, sliding: SlidingWindow) -> None:
        if self.card.task is not Task.SEGMENTATION:
            raise UsageError("sliding windows are for segmentation, got a classification model. Leave the window out.")
        if self.card.output_kind is OutputKind.LABELS:
            raise UsageError(
                "sliding windows need the model's logits, got a graph that returns labels. Export it without"
                " --labels-out."
            )
        shape = self.card.inputs[0].shape
        height_width = shape[1:3] if self.card.pixels_in else shape[2:4]
        for side, wanted in zip(height_width, sliding.window_hw, strict=True):
            if isinstance(side, int) and side != wanted:
                size = "x".join(str(side) for side in height_width)
                raise UsageError(
                    f"window must have the graph's size {size} (height x width), got"
                    f" {sliding.window_hw[0]}x{sliding.window_hw[1]}. Use that, or export with open sizes."
                )
