"""The server as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hrnet_deploy.engines.remote.remote_model import Token
from hrnet_deploy.serving import images, page, v2
from hrnet_deploy.serving.guard import Guard, counted
from hrnet_deploy.serving.http_error import HttpError, error_response, internal_error
from hrnet_deploy.serving.limits import Limits
from hrnet_deploy.serving.metrics import CONTENT_TYPE
from hrnet_deploy.serving.models import Given, ServedModels
from hrnet_deploy.serving.openapi import document

_LOG = logging.getLogger(__name__)
_MODEL = "/v2/models/{name}"


def app(
    models: Given,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Collection[str] | None = None,
    device: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
    streams: int | None = None,
) -> Starlette:
    """Create an ASGI application that serves models.

    It opens the models when it starts, or with the first request where it is mounted in another application.

    Args:
        models: open predictors, which stay the caller's, or files of artifacts, by name.
        limits: limits of requests; None for the default ones.
        token: bearer token that requests must have, but for `/` and health; None where the caller has its own
            authentication.
        hosts: names that a Host header may have, which keeps pages of other sites from a server on this machine; None
            for any.
        device: as for `Predictor`; like the others below, for models that are opened here.
        backend: as for `Predictor`.
        threads: as for `Predictor`.
        streams: as for `Predictor`; None chooses by machine and model.

    Returns:
        The application. Its `state.models` has `is_draining`, which makes it report that it is not ready, and `close`,
        for an application that runs no lifespan of what it mounts.

    Raises:
        UsageError: no model, a name that is no part of a URL, or a token that is no word of visible ASCII.
    """
    if token is not None:
        Token(token)  # refuses what no client could send
    options = {"device": device, "backend": backend, "threads": threads, "streams": streams}
    served = ServedModels(models, limits or Limits(), options)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        await asyncio.to_thread(served.open)
        yield
        await asyncio.to_thread(served.close)

    application = Starlette(
        routes=_routes(),
        lifespan=lifespan,
        middleware=[Middleware(Guard, models=served, token=token, hosts=hosts)],
        exception_handlers={HTTPException: _unrouted, HttpError: _refused, Exception: _failed},
    )
    application.state.models = served
    application.router.redirect_slashes = False
    return application


def _routes() -> list[Route]:
    """List the routes of all doors."""
    described = [("", v2.model_metadata), ("/ready", v2.model_ready), ("/config", v2.model_config)]
    gets = [
        ("/", page.page),
        ("/models", page.models),
        ("/metrics", _metrics),
        ("/openapi.json", _openapi),
        ("/v2", v2.server_metadata),
        ("/v2/health/live", v2.live),
        ("/v2/health/ready", v2.ready),
        *((_MODEL + end, endpoint) for end, endpoint in described),
        *((_MODEL + "/versions/{version}" + end, endpoint) for end, endpoint in described),
    ]
    posts = [
        ("/predict", images.predict),
        ("/models/{name}/predict", images.predict),
        (_MODEL + "/infer", v2.infer),
        (_MODEL + "/versions/{version}/infer", v2.infer),
    ]
    return [
        Route(path, counted(path, endpoint), methods=[method])
        for method, routes in (("POST", posts), ("GET", gets))
        for path, endpoint in routes
    ]


async def _metrics(request: Request) -> Response:
    """Write the counts of Prometheus."""
    return Response(request.app.state.models.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


async def _openapi(request: Request) -> Response:
    """Describe the routes of these models."""
    return page.json_response(document(request.app.state.models))


async def _refused(_: Request, error: Exception) -> Response:
    """Write a refusal."""
    return error_response(error if isinstance(error, HttpError) else internal_error())


async def _unrouted(request: Request, error: Exception) -> Response:
    """Describe a path or a method without a route."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    path = request.url.path
    if status == 405:
        sentence = f"method must be {headers.get('Allow', 'another')}, got {request.method:.20}. See /openapi.json."
    else:
        sentence = f"path must be one of this server's, got {path!r:.100}. See /openapi.json."
    return error_response(HttpError(status, sentence, headers))


async def _failed(_: Request, error: Exception) -> Response:
    """Report an unforeseen error; Starlette hands it to the server, which logs it."""
    del error
    return error_response(internal_error())
