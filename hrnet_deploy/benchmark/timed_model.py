"""One artefact under the clock: its inputs, and the calls that are timed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.benchmark.timing import Call
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.imaging.drawing import Image
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import ModelCard, Task

PHOTO_HW = (375, 500)
"""Size of a typical photo of ImageNet."""

_JPEG_QUALITY = 90
_LIMIT_PX = 1 << 25


@dataclass(frozen=True)
class Picture:
    """What every answer starts from.

    Attributes:
        content: an encoded image file.
        name: for the report.
    """

    content: bytes
    name: str

    @property
    def image(self) -> Image:
        """Decoded, BGR uint8 (H, W, 3)."""
        return read_frame(self.content, self.name).image


def read_picture(path: Path) -> Picture:
    """The user's own picture.

    Args:
        path: an image file.

    Returns:
        It, encoded as it is.

    Raises:
        MissingFileError: there is no such file.
        ImageError: it cannot be read or decoded.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFileError(f"image must be a file, got {path}. Check the path.") from error
    except OSError as error:
        raise ImageError(f"image must be readable, got {path} ({error.strerror}). Check its rights.") from error
    height, width = read_frame(content, path.name).image.shape[:2]
    return Picture(content, f"{path.name}, {height}x{width}")


def made_picture(card: ModelCard) -> Picture:
    """A picture with the statistics of photographs, as JPEG, of the size a net's users have.

    Args:
        card: of the net.

    Returns:
        500 x 375 for a classifier, the net's own size for a segmenter.

    Raises:
        UsageError: that size is too large to make.
    """
    size_hw = PHOTO_HW if card.task is Task.CLASSIFICATION else card.shapes.opt_nhw[1:]
    if math.prod(size_hw) > _LIMIT_PX:
        raise UsageError(
            f"made picture must have at most {_LIMIT_PX} pixels, got {size_hw[0]}x{size_hw[1]} from the card. "
            "Give one of your own with --image."
        )
    image = synthetic_images(1, size_hw)[0]
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
    return Picture(content, f"a made JPEG, {size_hw[0]}x{size_hw[1]}")


class Subject:
    """An opened artefact and the calls that are timed.

    Attributes:
        path: the file.
        name: its file name.
        predictor: opened on it.
        card: what it says of itself.
        picture: what the calls work on.
        size_bytes: of the file.
        sha256: of the file, in hex.
    """

    def __init__(self, path: Path, predictor: Predictor, picture: Picture | None = None) -> None:
        """Prepare the input.

        Args:
            path: the file.
            predictor: opened on it; closed by the caller.
            picture: None for a made one.

        Raises:
            ImageError: the picture cannot be used.
        """
        self.path, self.name = path, path.name
        self.predictor = predictor
        self.card = predictor.card
        self.picture = picture or made_picture(self.card)
        self.size_bytes = path.stat().st_size
        self.sha256 = sha256_file(path)
        preprocess = Preprocessor(self.card.preprocessing)
        image = self.picture.image
        self._row = preprocess.pixels(image) if self.card.pixels_in else preprocess(image)

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU."""
        return self.predictor.device.startswith("cuda")

    @property
    def input_hw(self) -> tuple[int, int]:
        """(height, width) of the network input."""
        shape = self._row.shape
        return (shape[0], shape[1]) if self.card.pixels_in else (shape[1], shape[2])

    @property
    def fixed_batch(self) -> int | None:
        """The one batch size it takes; None where it is open."""
        size = self.card.inputs[0].shape[0]
        return size if isinstance(size, int) else None

    def refusal(self, batch: int) -> str | None:
        """Why a batch size is not measured.

        Args:
            batch: images per inference.

        Returns:
            A clause, or None where nothing speaks against it.
        """
        if self.fixed_batch not in {None, batch}:
            return f"has a fixed batch of {self.fixed_batch}"
        low, high = self.card.shapes.min_nhw[0], self.card.shapes.max_nhw[0]
        return None if low <= batch <= high else f"takes batches of {low} to {high}"

    def engine_call(self, batch: int) -> Call:
        """A run with no copy between host and GPU: the input lies where the engine computes, and the output stays.

        Args:
            batch: images per inference.

        Returns:
            The call; it returns when the answer is there.

        Raises:
            DeviceError: no GPU memory.
            MissingDependencyError: CUDA's Python bindings are missing.
        """
        if not self.on_gpu:
            return self.copying_call(batch)
        feed = {name: _on_gpu(array, self.predictor.device) for name, array in self._feed(batch).items()}
        return lambda: self.predictor.infer(feed)

    def copying_call(self, batch: int) -> Call:
        """A run from NumPy array to NumPy array; on a CPU nothing is copied on the way in.

        Args:
            batch: images per inference.

        Returns:
            The call.
        """
        feed = self._feed(batch)
        return lambda: self.predictor.infer(feed)

    def whole_call(self, batch: int) -> Call:
        """From encoded images to answers: decoding, preprocessing, inference, softmax or mask.

        Args:
            batch: images per inference.

        Returns:
            The call.
        """
        images = [self.picture.content] * batch
        return lambda: self.predictor.predict(images, batch=batch)

    def _feed(self, batch: int) -> Mapping[str, NDArray[np.generic]]:
        spec = self.card.inputs[0]
        # One array a call: threads must not share what some engines write to.
        return {spec.name: np.ascontiguousarray(np.repeat(self._row[None], batch, axis=0), spec.dtype)}


def check_room(subject: Subject, batch: int, limit_bytes: int) -> None:
    """Refuse a batch whose input alone would fill the memory.

    Args:
        subject: the artefact.
        batch: images per inference.
        limit_bytes: most that the input may take.

    Raises:
        UsageError: it would take more.
    """
    size = batch * math.prod((3, *subject.input_hw)) * np.dtype(subject.card.inputs[0].dtype).itemsize
    if size > limit_bytes:
        raise UsageError(
            f"input of {subject.name} must stay under {limit_bytes >> 20:,} MiB, got {size >> 20:,} MiB for batch "
            f"{batch}. Use a smaller --batch."
        )


def _on_gpu(array: NDArray[np.generic], device: str) -> Any:
    """A copy in GPU memory."""
    from hrnet_deploy.engines.cuda.device_array import DeviceArray, MemoryPool
    from hrnet_deploy.engines.cuda.provider import open_cuda

    cuda, index = open_cuda(), int(device.partition(":")[2] or 0)
    upload: Callable[[int, int, int, int], None] = cuda.copy_in
    with cuda.active(index):
        stream = cuda.stream()
        try:
            result = DeviceArray(MemoryPool(cuda, index), array.shape, array.dtype, stream)
            upload(result.address, array.ctypes.data, array.nbytes, stream)
            cuda.synchronize(stream)
        finally:
            cuda.destroy_stream(stream)
    return result
