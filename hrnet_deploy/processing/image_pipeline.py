"""The work on each image before and after the model."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.feature_result import FeatureResult
from hrnet_deploy.imaging.frame import Frame, Item
from hrnet_deploy.imaging.palettes import colors_of
from hrnet_deploy.processing.model_io import decode_classes, decode_mask, network_input, output_rows
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.results import ClassificationResult, Result, SegmentationResult
from hrnet_deploy.spec import ModelCard, Task

_LOG = logging.getLogger(__name__)


@dataclass
class Prepared:
    """One image, ready for the model.

    Attributes:
        frame: the image.
        row: model input, float32 (3, height, width), or uint8 (height, width, 3) where the graph takes pixels.
        ms: time to read, decode and preprocess.
    """

    frame: Frame
    row: NDArray[Any]
    ms: float


@dataclass(frozen=True)
class Unusable:
    """One image that cannot be used; it keeps its place in the order."""

    name: str
    error: ImageError | MissingFileError


class ImagePipeline:
    """Preprocessing and postprocessing of single images as a card describes them; safe to call from several threads.

    Attributes:
        card: card of the artifact.
        preprocessor: preprocessing of the card.
    """

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.preprocessor = Preprocessor(card.preprocessing)
        if card.threshold is None and len(card.classes) == 1:
            _LOG.warning("one output channel and no threshold: every image is '%s'. Export it again.", card.classes[0])
        segments = card.task is Task.SEGMENTATION and not card.headless
        self._palette = colors_of(card) if segments else None

    def prepare(self, item: Item) -> Prepared | Unusable:
        """Read an image and compute the model input, or report why it cannot be used."""
        try:
            frame = item.load()
            began = time.perf_counter()
            row = network_input(self.card, self.preprocessor, frame.image)
        except (ImageError, MissingFileError) as error:
            return Unusable(item.name, error)
        return Prepared(frame, row, frame.decode_ms + 1e3 * (time.perf_counter() - began))

    def result(self, frame: Frame, speed: dict[str, float], outputs: Tensors, index: int) -> Result:
        """Decode the outputs of a batch to the result of the image at `index`; `speed` is in milliseconds by stage."""
        if self.card.headless:
            raise UsageError("a prediction needs a model with a head, got one with features only. Ask for features.")
        began = time.perf_counter()
        prediction = self._decode(outputs, index, frame.image)
        common: dict[str, Any] = {
            "name": frame.name,
            "path": frame.path,
            "video": frame.video,
            "image": frame.image,
            "classes": self.card.classes,
            "speed": speed | {"postprocess": 1e3 * (time.perf_counter() - began)},
        }
        if self._palette is not None:
            return SegmentationResult(**common, mask=prediction, palette=self._palette)
        indices, scores = prediction
        return ClassificationResult(**common, indices=indices, scores=scores)

    def features(self, frame: Frame, speed: dict[str, float], outputs: Tensors, index: int) -> FeatureResult:
        """Take the features of the image at `index` from the outputs of a batch; `speed` is as for `result`."""
        began = time.perf_counter()
        # A view of one row would keep the whole batch in memory.
        found = {spec.name: outputs[spec.name][index].astype(np.float32) for spec in self.card.features}
        return FeatureResult(
            name=frame.name,
            path=frame.path,
            video=frame.video,
            vectors={name: array for name, array in found.items() if array.ndim == 1},
            maps={name: array for name, array in found.items() if array.ndim != 1},
            speed=speed | {"postprocess": 1e3 * (time.perf_counter() - began)},
        )

    def _decode(self, outputs: Tensors, index: int, image: NDArray[np.uint8]) -> Any:
        """Return (indices, scores), or a mask at the image's size."""
        rows = output_rows(self.card, outputs, index)
        if self.card.task is Task.CLASSIFICATION:
            return decode_classes(self.card, rows)
        mask = decode_mask(self.card, rows[0], (image.shape[0], image.shape[1]))
        # A view of one row would keep the whole batch in memory.
        return mask.copy() if mask is rows[0] and len(outputs[self.card.outputs[0].name]) > 1 else mask
