"""A model of Triton's Python backend: image files in, results as JSON out; another model of the server infers.

Triton imports this module in its own Python, where `triton_python_backend_utils` exists.
Source: https://github.com/triton-inference-server/python_backend (README.md, Business Logic Scripting).
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.errors import DeviceError, HrnetDeployError, ImageError, one_line
from hrnet_deploy.imaging.frame import Item
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.processing.image_pipeline import ImagePipeline, Prepared, Unusable
from hrnet_deploy.processing.prefetch import readers
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.results import Result, SegmentationResult
from hrnet_deploy.triton.model_config import IMAGE_INPUT, MASK_OUTPUT, MODEL_KEY, RESULT_OUTPUT, batch_limit

_LOG = logging.getLogger(__name__)


@dataclass
class _Image:
    """An image of a request: its place, what was prepared of it, and its result or the reason for having none."""

    request: int
    prepared: Prepared | Unusable
    result: Result | None = None
    error: HrnetDeployError | None = None


class TritonPythonModel:
    """Computes results of encoded images; Triton calls it from one thread."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Read the card from the configuration."""
        config = parse_json(args["model_config"])
        parameters = {key: entry["string_value"] for key, entry in config["parameters"].items()}
        self._model = parameters[MODEL_KEY]
        self._card = card_from_metadata(parameters, args["model_name"])
        self._pipeline = ImagePipeline(self._card)
        self._pool = ThreadPoolExecutor(readers(), thread_name_prefix="hrnet-read")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response for each request: results of all its images, or the error of one of them."""
        images = [
            _Image(number, prepared)
            for number, request in enumerate(requests)
            for prepared in self._pool.map(self._pipeline.prepare, _items(request))
        ]
        for image in images:
            if isinstance(image.prepared, Unusable):
                image.error = image.prepared.error
        for group in _batches(images, batch_limit(self._card)):
            self._infer(group)
        return [
            self._response(request, [image for image in images if image.request == number])
            for number, request in enumerate(requests)
        ]

    def finalize(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _infer(self, group: list[_Image]) -> None:
        """Infer images of one size, and decode the results."""
        rows = [image.prepared.row for image in group if isinstance(image.prepared, Prepared)]
        began = time.perf_counter()
        try:
            outputs = self._call(_filled(rows, self._card.least_batch))
        except DeviceError as error:
            for image in group:
                image.error = error
            return
        share_ms = 1e3 * (time.perf_counter() - began) / len(group)
        for index, image in enumerate(group):
            if isinstance(image.prepared, Prepared):
                speed = {"preprocess": image.prepared.ms, "inference": share_ms}
                image.result = self._pipeline.result(image.prepared.frame, speed, outputs, index)

    def _call(self, batch: NDArray[Any]) -> Tensors:
        """Run the other model of this server on a batch."""
        import triton_python_backend_utils as pb_utils

        spec = self._card.inputs[0]
        request = pb_utils.InferenceRequest(
            model_name=self._model,
            requested_output_names=[output.name for output in self._card.outputs],
            inputs=[pb_utils.Tensor(spec.name, batch.astype(spec.dtype, copy=False))],
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        try:
            response = request.exec()
        except pb_utils.TritonModelException as error:
            raise self._failure(error) from error
        if response.has_error():
            raise self._failure(response.error().message())
        tensors = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
        short = [name for name, array in tensors.items() if len(array) < len(batch)]
        if short or len(tensors) != len(self._card.outputs):
            raise self._failure(f"{len(batch)} images and outputs {short or sorted(tensors)}")
        return tensors

    def _failure(self, reason: object) -> DeviceError:
        return DeviceError(f"model '{self._model}' must infer, got: {one_line(reason, 300)}. See Triton's log.")

    def _response(self, request: Any, images: list[_Image]) -> Any:
        """Return the results of a request's images, or an error of Triton."""
        import triton_python_backend_utils as pb_utils

        for image in images:
            if image.error is not None or image.result is None:
                # The client is at fault for an image only.
                fault = isinstance(image.prepared, Unusable)
                code = pb_utils.TritonError.INVALID_ARG if fault else pb_utils.TritonError.INTERNAL
                return pb_utils.InferenceResponse(error=pb_utils.TritonError(one_line(image.error), code))
        results = [image.result for image in images if image.result is not None]
        wanted = request.requested_output_names()
        tensors = [pb_utils.Tensor(RESULT_OUTPUT, _column(result.to_json().encode() for result in results))]
        if MASK_OUTPUT in wanted:
            masks = (_png(result) for result in results if isinstance(result, SegmentationResult))
            tensors.append(pb_utils.Tensor(MASK_OUTPUT, _column(masks)))
        return pb_utils.InferenceResponse(tensors)


def _items(request: Any) -> list[Item]:
    """Return the images of a request; only bytes are read, so that a text never names a file of the server."""
    import triton_python_backend_utils as pb_utils

    encoded = pb_utils.get_input_tensor_by_name(request, IMAGE_INPUT).as_numpy().reshape(-1)
    names = [f"image_{index}" for index in range(len(encoded))]
    return [
        Item(name, functools.partial(read_frame, bytes(content), name))
        for name, content in zip(names, encoded, strict=True)
    ]


def _batches(images: list[_Image], limit: int) -> Iterator[list[_Image]]:
    """Group images of one size into batches."""
    groups: dict[tuple[int, ...], list[_Image]] = {}
    for image in images:
        if isinstance(image.prepared, Prepared):
            groups.setdefault(image.prepared.row.shape, []).append(image)
    for group in groups.values():
        for start in range(0, len(group), limit):
            yield group[start : start + limit]


def _filled(rows: list[NDArray[Any]], least: int) -> NDArray[Any]:
    """Stack rows, filled up to the smallest batch."""
    batch = np.zeros((max(len(rows), least), *rows[0].shape), rows[0].dtype)
    for place, row in zip(batch, rows, strict=False):
        place[...] = row
    return batch


def _png(result: SegmentationResult) -> bytes:
    """Encode class ids as a PNG of one channel."""
    fits, encoded = cv2.imencode(".png", result.mask)
    if not fits:
        raise ImageError(f"mask of {result.name} must fit a PNG file, got {result.mask.shape}. Send a smaller image.")
    return encoded.tobytes()


def _column(values: Iterator[bytes]) -> NDArray[Any]:
    """Return texts as an array (N, 1), the form of one text per image."""
    texts = list(values)
    column = np.empty((len(texts), 1), object)
    column[:, 0] = texts
    return column
