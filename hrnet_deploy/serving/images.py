"""`POST /predict`: images in, predictions out."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hrnet_deploy.serving.batching import Ticket
from hrnet_deploy.serving.body_budget import BodyHold, hold_of
from hrnet_deploy.serving.http_error import HttpError
from hrnet_deploy.serving.image_work import ImageRequest
from hrnet_deploy.serving.models import ServedModels
from hrnet_deploy.serving.outcome import as_http_error, handed_over, wait_for
from hrnet_deploy.serving.request_body import read_body
from hrnet_deploy.serving.response_format import JSON, ResponseFormat, compact_json, read_format
from hrnet_deploy.serving.served_model import ServedModel
from hrnet_deploy.serving.uploads import Upload, Uploads, is_raw, read_uploads


async def predict(request: Request) -> Response:
    """Classify or segment the images of a request."""
    models: ServedModels = request.app.state.models
    model = models.only() if "name" not in request.path_params else models.get(request.path_params["name"])
    form = read_format(request.query_params.multi_items(), request.headers.get("accept", ""), model.card)
    model.check_room()
    body = await read_body(request, models.limits, models.bodies)
    uploads = await _uploads(models, request.headers.get("content-type", ""), body)
    if uploads.is_list and form.media_type != JSON:
        raise HttpError(400, f"a list of images needs JSON, got Accept {form.media_type}. Send one image a request.")
    return Response(await _predictions(request, model, uploads, form), media_type=form.media_type)


async def _uploads(models: ServedModels, content_type: str, body: bytes) -> Uploads:
    """Find the images; on a thread where that takes more than a look."""
    limit = models.limits.images
    if is_raw(content_type):
        return read_uploads(content_type, body, limit)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(models.workers.reading, read_uploads, content_type, body, limit)


async def _predictions(request: Request, model: ServedModel, uploads: Uploads, form: ResponseFormat) -> bytes:
    """Run the images, and join what is written of them."""
    ticket = Ticket()
    usable = [upload for upload in uploads.images if upload.error is None]
    limits = request.app.state.models.limits
    with model.admit(len(usable)):
        hold = hold_of(request.scope)
        futures = [_submit(model, upload, ticket, form, hold) for upload in usable]
        results = iter(await wait_for(request, ticket, futures, limits.timeout_s) if futures else [])
    written = [_written(upload, next(results) if upload.error is None else None) for upload in uploads.images]
    if uploads.is_list:
        return (
            b"[" + b",".join(_listed(upload, one) for upload, one in zip(uploads.images, written, strict=True)) + b"]"
        )
    if isinstance(written[0], HttpError):
        raise written[0]
    return written[0]


def _submit(
    model: ServedModel, upload: Upload, ticket: Ticket, form: ResponseFormat, hold: BodyHold
) -> asyncio.Future[Any]:
    """Start the work on an image."""
    future, resolve = handed_over(hold)
    model.images.start(ImageRequest(upload.content, upload.name, ticket, form.keeps_image, form.write, resolve))
    return future


def _written(upload: Upload, outcome: Any) -> bytes | HttpError:
    """Return what was written of an image, or its error."""
    if upload.error is not None:
        return HttpError(400, upload.error)
    return as_http_error(outcome) if isinstance(outcome, Exception) else outcome


def _listed(upload: Upload, written: bytes | HttpError) -> bytes:
    """Return an entry of a list: a prediction, or an error with the image's name."""
    if isinstance(written, HttpError):
        return compact_json({"name": upload.name, "error": written.sentence})
    return written
