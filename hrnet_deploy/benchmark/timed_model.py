"""One artifact that is timed: its inputs, and the timed calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.benchmark.timing import Call
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.loaded_model import identify
from hrnet_deploy.imaging.drawing import Image
from hrnet_deploy.imaging.image_files import read_file
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.processing.model_io import network_input
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import ModelCard, Task

PHOTO_HW = (375, 500)
"""Size of a typical photo of ImageNet."""

_JPEG_QUALITY = 90
_LIMIT_PX = 1 << 25


@dataclass(frozen=True)
class EncodedImage:
    """The input of every prediction."""

    content: bytes
    name: str

    @property
    def image(self) -> Image:
        """The decoded image, BGR uint8 (H, W, 3)."""
        return read_frame(self.content, self.name).image


def read_image(path: Path) -> EncodedImage:
    """Read the user's image."""
    content = read_file(path)
    height, width = read_frame(content, path.name).image.shape[:2]
    return EncodedImage(content, f"{path.name}, {height}x{width}")


def generate_image(card: ModelCard) -> EncodedImage:
    """Generate a JPEG with photo statistics: 375x500 for a classifier, the model's own size for segmentation."""
    size_hw = PHOTO_HW if card.task is Task.CLASSIFICATION else card.shapes.opt_nhw[1:]
    if math.prod(size_hw) > _LIMIT_PX:
        raise UsageError(
            f"generated image must have at most {_LIMIT_PX} pixels, got {size_hw[0]}x{size_hw[1]} from the card. "
            "Give one of your own with --image."
        )
    image = synthetic_images(1, size_hw)[0]
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
    return EncodedImage(content, f"a generated JPEG, {size_hw[0]}x{size_hw[1]}")


class TimedModel:
    """An opened artifact and its timed calls."""

    def __init__(self, artifact: Path | RemoteModel, predictor: Predictor, image: EncodedImage | None = None) -> None:
        """Prepare the input from an image, or from a generated one."""
        self.artifact = artifact
        self.name, _, self.sha256, self.size_bytes = identify(artifact, predictor.metadata)
        self.predictor = predictor
        self.card = predictor.card
        self.image = image or generate_image(self.card)
        self._row = network_input(self.card, Preprocessor(self.card.preprocessing), self.image.image)

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.predictor.device.startswith("cuda")

    @property
    def input_hw(self) -> tuple[int, int]:
        """(height, width) of the model input."""
        shape = self._row.shape
        return (shape[0], shape[1]) if self.card.pixels_in else (shape[1], shape[2])

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size of the graph; None if the batch is dynamic."""
        size = self.card.inputs[0].shape[0]
        return size if isinstance(size, int) else None

    def why_unsupported(self, batch: int) -> str | None:
        """Return the reason why a batch size cannot be measured, as a clause, or None."""
        if self.fixed_batch not in {None, batch}:
            return f"has a fixed batch of {self.fixed_batch}"
        low, high = self.card.shapes.min_nhw[0], self.card.shapes.max_nhw[0]
        return None if low <= batch <= high else f"takes batches of {low} to {high}"

    def engine_call(self, batch: int) -> Call:
        """Create a call without copies between host and GPU; it returns after the inference has finished."""
        if not self.on_gpu:
            return self.copying_call(batch)
        feed = {name: _upload(array, self.predictor.device) for name, array in self._feed(batch).items()}
        return lambda: self.predictor.infer(feed)

    def copying_call(self, batch: int) -> Call:
        """Create a call from NumPy array to NumPy array; a CPU does not copy its input."""
        feed = self._feed(batch)
        return lambda: self.predictor.infer(feed)

    def whole_call(self, batch: int) -> Call:
        """Create a call from encoded images to results: decoding, preprocessing, inference, postprocessing."""
        images, predictor = [self.image.content] * batch, self.predictor
        if self.card.headless:
            return lambda: predictor.features(images, batch=batch)
        return lambda: predictor.predict(images, batch=batch)

    def check_memory(self, batch: int, limit_bytes: int) -> None:
        """Refuse a batch whose input is larger than a limit."""
        size = batch * math.prod((3, *self.input_hw)) * np.dtype(self.card.inputs[0].dtype).itemsize
        if size > limit_bytes:
            raise UsageError(
                f"input of {self.name} must stay under {limit_bytes >> 20:,} MiB, got {size >> 20:,} MiB for batch "
                f"{batch}. Use a smaller --batch."
            )

    def _feed(self, batch: int) -> Mapping[str, NDArray[np.generic]]:
        """Return a new input array: threads must not share what some engines write to."""
        spec = self.card.inputs[0]
        return {spec.name: np.ascontiguousarray(np.repeat(self._row[None], batch, axis=0), spec.dtype)}


def _upload(array: NDArray[np.generic], device: str) -> Any:
    """Copy an array into GPU memory."""
    from hrnet_deploy.engines.cuda.device_array import DeviceArray, MemoryPool
    from hrnet_deploy.engines.cuda.provider import open_cuda

    cuda, index = open_cuda(), int(device.partition(":")[2] or 0)
    copy_in: Callable[[int, int, int, int], None] = cuda.copy_in
    with cuda.active(index):
        stream = cuda.stream()
        try:
            result = DeviceArray(MemoryPool(cuda, index), array.shape, array.dtype, stream)
            copy_in(result.address, array.ctypes.data, array.nbytes, stream)
            cuda.synchronize(stream)
        finally:
            cuda.destroy_stream(stream)
    return result
