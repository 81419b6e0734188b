"""The outermost layer of the server: hosts, tokens, counts, and connections whose body is not read."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Collection
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hrnet_deploy.serving.body_budget import end_hold
from hrnet_deploy.serving.http_error import HttpError, error_response
from hrnet_deploy.serving.models import ServedModels

_OPEN_ROUTES = frozenset({"/", "/v2/health/live", "/v2/health/ready"})
"""Routes that need no token: the page, which asks for one, and probes, which have none."""
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_LINGER_S = 2.0
_LINGER_BYTES = 64 << 20
_CLIENT_GONE = 499
"""Status in the counts for a client that left, as nginx names it."""


class Guard:
    """ASGI middleware around the routes."""

    def __init__(
        self, app: ASGIApp, models: ServedModels, token: str | None = None, hosts: Collection[str] | None = None
    ) -> None:
        self._app = app
        self._models = models
        self._token = None if token is None else token.encode()
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._in_flight = 0
        models.metrics.add_gauge(
            "hrnet_requests_in_flight", "Requests without a complete response.", lambda: {(): self._in_flight}
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, Headers(scope=scope))
        began = time.perf_counter()
        self._in_flight += 1
        try:
            if not self._models.is_open:  # mounted in an application that runs no lifespan of its parts
                await asyncio.to_thread(self._models.open)
            self._check(scope, exchange.headers)
            await self._app(scope, exchange.receive, exchange.send)
        except HttpError as error:
            await error_response(error)(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.status = _CLIENT_GONE
        finally:
            end_hold(scope)
            self._in_flight -= 1
            self._count(scope, exchange.status, time.perf_counter() - began)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Refuse a foreign host, and a request without the token."""
        host = _host_name(headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            raise HttpError(400, f"host must be one of {', '.join(sorted(self._hosts))}, got '{host:.100}'. Allow it.")
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self._token is None or path in _OPEN_ROUTES:
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token):
            raise HttpError(
                401, "Authorization must be the server's bearer token, got another or none. Send it.", _CHALLENGE
            )

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request under its route; paths and names of clients are no labels."""
        route = scope.get("hrnet_deploy.route", "none")
        name = scope.get("path_params", {}).get("name", "")
        names = self._models.names
        model = name if name in names else names[0] if route == "/predict" and len(names) == 1 else ""
        self._models.metrics.count_request(model, route, status, seconds)


_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class _Exchange:
    """One request and its response, as they pass through."""

    def __init__(self, receive: Receive, send: Send, headers: Headers) -> None:
        self._receive, self._send = receive, send
        self.headers = headers
        self.status = 500
        self._has_body_left = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

    async def receive(self) -> Message:
        """Receive, and note the end of the body."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._has_body_left = False
        return message

    async def send(self, message: Message) -> None:
        """Send; where the body is not read, close the connection, but not before the client can read the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(pair for pair in _HEADERS if pair[0] not in own)]
            if self._has_body_left:
                message["headers"].append((b"connection", b"close"))
        elif self._has_body_left and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._discard(), _LINGER_S)
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _discard(self) -> None:
        """Read the rest of the body, up to a limit, and forget it."""
        left = _LINGER_BYTES
        while self._has_body_left and left > 0:
            left -= len((await self.receive()).get("body", b""))


def _host_name(text: str) -> str:
    """Return a Host header without its port."""
    text = text.strip().lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0]


def counted(route: str, endpoint: Any) -> Any:
    """Wrap an endpoint so that its requests are counted under its route."""

    async def call(request: Any) -> Any:
        request.scope["hrnet_deploy.route"] = route
        return await endpoint(request)

    return call
