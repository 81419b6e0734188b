"""The body of a request, read within limits of size and time."""

from __future__ import annotations

import contextlib

import anyio
from starlette.requests import ClientDisconnect, Request

from hrnet_deploy.serving.body_budget import BodyBudget, BodyHold, begin_hold
from hrnet_deploy.serving.http_error import HttpError
from hrnet_deploy.serving.limits import Limits


async def read_body(request: Request, limits: Limits, budget: BodyBudget, needed_bytes: int = 0) -> bytes:
    """Read the whole body; the request holds its bytes of the budget until it ends.

    Args:
        request: the request.
        limits: limits of size and time.
        budget: bytes that all requests share; they are taken as they arrive, so that a length alone costs nothing.
        needed_bytes: size that is allowed even where it is beyond the limit.

    Returns:
        Its content.

    Raises:
        HttpError: 413 as soon as the size is known, 408 for a slow sender, 415 for a compressed body, 503 where the
            bodies of other requests fill the memory.
        ClientDisconnect: the client is gone.
    """
    limit_bytes = max(limits.body_bytes, needed_bytes)
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or len(declared) > 18:
        raise HttpError(400, f"Content-Length must be a number of bytes, got {declared:.40}. Correct it.")
    if int(declared) > limit_bytes:
        raise _too_large(limit_bytes, f"{int(declared):,}")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise HttpError(415, f"body must not be compressed, got Content-Encoding {encoding:.40}. Send it as it is.")
    try:
        # Unlike asyncio.wait_for before Python 3.12, this needs no other task.
        with anyio.fail_after(limits.read_timeout_s):
            return await _collect(request, limit_bytes, begin_hold(request.scope, budget))
    except TimeoutError as error:
        raise HttpError(
            408, f"body must arrive within {limits.read_timeout_s:g} s, got a part of it. Send it faster."
        ) from error


async def _collect(request: Request, limit_bytes: int, hold: BodyHold) -> bytes:
    """Join the parts of the body; stop at the limit."""
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes, "more")
        if part:
            hold.grow(len(part))
            parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit_bytes: int, got: str) -> HttpError:
    return HttpError(413, f"body must have at most {limit_bytes:,} bytes, got {got}. Send less, or smaller images.")


async def until_disconnected(request: Request) -> None:
    """Wait until the client is gone; its body has been read."""
    with contextlib.suppress(ClientDisconnect):
        while (await request.receive())["type"] != "http.disconnect":
            pass
