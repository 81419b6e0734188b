"""Results that other threads compute for a request of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request

from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.serving.batching import Ticket
from hrnet_deploy.serving.body_budget import BodyHold
from hrnet_deploy.serving.http_error import HttpError, bad_request, internal_error
from hrnet_deploy.serving.request_body import until_disconnected

_LOG = logging.getLogger(__name__)


def handed_over(hold: BodyHold) -> tuple[asyncio.Future[Any], Callable[[Any], None]]:
    """Create a future, and the function that sets its result once from any thread; an error is a result, too.

    The work keeps the body's bytes held until then, even where its client has left.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any) -> None:
        if not future.done():
            future.set_result(value)

    hold.retain()

    def resolve(value: Any) -> None:
        hold.release()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, value)

    return future, resolve


async def wait_for(request: Request, ticket: Ticket, futures: list[asyncio.Future[Any]], timeout_s: float) -> list[Any]:
    """Wait for results.

    Args:
        request: the request, whose body has been read.
        ticket: its ticket, which is abandoned where the wait ends without results.
        futures: the results.
        timeout_s: longest time.

    Returns:
        The results; errors among them.

    Raises:
        HttpError: 504 after the time.
        ClientDisconnect: the client is gone.
    """
    gone = asyncio.ensure_future(until_disconnected(request))
    work = futures[0] if len(futures) == 1 else asyncio.ensure_future(asyncio.wait(futures))
    try:
        done, _ = await asyncio.wait({work, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if work in done:
            return [future.result() for future in futures]
    finally:
        ticket.abandoned = True  # no effect on finished work
        gone.cancel()
        work.cancel()
    if gone in done:
        raise ClientDisconnect
    raise HttpError(504, f"a result must be there within {timeout_s:g} s, got none. Try again, or send fewer images.")


def as_http_error(error: Exception) -> HttpError:
    """Convert an error of a worker: the client's own in its words, any other one logged and without internals."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, (ImageError, UsageError, MissingFileError)):
        return bad_request(error)
    _LOG.error("a request failed", exc_info=error)
    return internal_error()
