"""The Open Inference Protocol (V2) over HTTP: health, metadata, configuration and inference.

Sources: https://github.com/open-inference/open-inference-protocol (rest/inference_rest.md); Triton's extensions
"binary_tensor_data" and "model_configuration" (https://github.com/triton-inference-server/server, docs/protocol).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hrnet_deploy.engines.feed import check_array, check_names
from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.serving.batching import Ticket
from hrnet_deploy.serving.body_budget import hold_of
from hrnet_deploy.serving.http_error import HttpError
from hrnet_deploy.serving.image_work import check_size
from hrnet_deploy.serving.models import ServedModels
from hrnet_deploy.serving.outcome import as_http_error, handed_over, wait_for
from hrnet_deploy.serving.request_body import read_body
from hrnet_deploy.serving.served_model import ServedModel
from hrnet_deploy.serving.v2_description import config, metadata
from hrnet_deploy.serving.v2_request import InferRequest, read_request
from hrnet_deploy.v2_tensors import HEADER_LENGTH, write_message
from hrnet_deploy.version import VERSION

_INLINE_BYTES = 1 << 16
"""Largest JSON that is parsed on the event loop."""


async def infer(request: Request) -> Response:
    """Run the graph of a model on tensors."""
    models: ServedModels = request.app.state.models
    model = models.get(request.path_params["name"])
    check_version(request)
    model.check_room()
    body = await read_body(request, models.limits, models.bodies, model.message_bytes)
    header_length = _header_length(request.headers.get(HEADER_LENGTH))
    if (len(body) if header_length is None else header_length) <= _INLINE_BYTES:
        requested = _read(model, body, header_length)
    else:
        loop = asyncio.get_running_loop()
        requested = await loop.run_in_executor(models.workers.reading, _read, model, body, header_length)
    ticket = Ticket()
    with model.admit(len(requested.rows)):
        future, resolve = handed_over(hold_of(request.scope))
        model.infer(requested.rows, ticket, lambda outputs: _write(model, requested, outputs), resolve)
        (outcome,) = await wait_for(request, ticket, [future], models.limits.timeout_s)
    if isinstance(outcome, Exception):
        raise as_http_error(outcome)
    head, binary = outcome
    if not binary:
        return Response(head, media_type="application/json")
    return Response(
        b"".join([head, *binary]), media_type="application/octet-stream", headers={HEADER_LENGTH: str(len(head))}
    )


def check_version(request: Request) -> None:
    """Refuse any version but the one that there is."""
    version = request.path_params.get("version", "1")
    if version != "1":
        raise HttpError(404, f"version must be 1, the only one of a model, got '{version:.40}'. Leave it out.")


def _header_length(text: str | None) -> int | None:
    """Read the header with the size of the JSON."""
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise HttpError(400, f"{HEADER_LENGTH} must be a number of bytes, got '{text:.40}'. Correct it.")
    return int(text)


def _read(model: ServedModel, body: bytes, header_length: int | None) -> InferRequest:
    """Read the tensors and check them against the model."""
    try:
        requested = read_request(body, header_length, [spec.name for spec in model.card.outputs])
        check_names(model.card.inputs[:1], requested.inputs)
        spec = model.card.inputs[0]
        array = requested.inputs[spec.name]
        check_array(spec, array)
    except UsageError as error:
        raise as_http_error(error) from error
    _check_range(model, array)
    requested.rows = list(array)
    return requested


def _check_range(model: ServedModel, array: NDArray[np.generic]) -> None:
    """Refuse a batch or an image size beyond the card's range."""
    if not 1 <= len(array) <= model.max_batch:
        raise HttpError(400, f"batch must be 1 to {model.max_batch}, got {len(array)}. Send several requests.")
    height, width = array.shape[1:3] if model.card.pixels_in else array.shape[2:4]
    if min(height, width) < 1:
        raise HttpError(400, f"images must have pixels, got {height}x{width}. Send whole ones.")
    try:
        check_size(model.card, height, width)
    except ImageError as error:
        raise as_http_error(error) from error


def _write(model: ServedModel, requested: InferRequest, outputs: Tensors) -> tuple[bytes, list[bytes | memoryview]]:
    """Write the message of a response."""
    fields: dict[str, Any] = {"model_name": model.name, "model_version": "1"}
    if requested.id is not None:
        fields["id"] = requested.id
    chosen = {name: outputs[name] for name in requested.outputs}
    as_json = [name for name, is_binary in requested.outputs.items() if not is_binary]
    return write_message(fields, "outputs", chosen, as_json=as_json)


async def server_metadata(_: Request) -> Response:
    """Describe the server."""
    extensions = ["binary_tensor_data", "model_configuration"]
    return JSONResponse({"name": "hrnet-serve", "version": VERSION, "extensions": extensions})


async def live(_: Request) -> Response:
    """Report that the server runs."""
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    """Report whether the server takes requests: not before its models are open, nor once it is told to end."""
    is_ready = request.app.state.models.is_ready
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


async def model_ready(request: Request) -> Response:
    """Report whether a model takes requests."""
    models: ServedModels = request.app.state.models
    model = models.get(request.path_params["name"])
    check_version(request)
    return JSONResponse({"name": model.name, "ready": models.is_ready}, 200 if models.is_ready else 503)


async def model_metadata(request: Request) -> Response:
    """Describe the tensors of a model."""
    return _described(request, metadata)


async def model_config(request: Request) -> Response:
    """Describe a model as Triton's configuration does, with its card."""
    return _described(request, config)


def _described(request: Request, describe: Any) -> Response:
    models: ServedModels = request.app.state.models
    model = models.get(request.path_params["name"])
    check_version(request)
    described: Mapping[str, Any] = describe(model)
    return JSONResponse(described)
