"""Memory for the bodies of requests, shared by all of them."""

from __future__ import annotations

import threading
from collections.abc import MutableMapping
from typing import Any

from hrnet_deploy.serving.http_error import HttpError

_KEY = "hrnet_deploy.body"


class BodyBudget:
    """Bytes of bodies that all requests may hold at a time; safe to use from several threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes that are held."""
        return self._used

    def take(self, count: int, own: int) -> None:
        """Take bytes for a body that holds `own`; a body that is alone may have any size.

        Raises:
            HttpError: 503 where other bodies leave too few.
        """
        with self._lock:
            if self._used > own and self._used + count > self._size:
                raise HttpError(
                    503,
                    f"bodies of all requests must have at most {self._size:,} bytes, got more. Try again.",
                    {"Retry-After": "1"},
                )
            self._used += count

    def give_back(self, count: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._used -= count


class BodyHold:
    """Bytes of one body: given back when the request and all work on it have ended, even if the client has left."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._bytes = 0
        self._users = 1
        self._lock = threading.Lock()

    def grow(self, count: int) -> None:
        """Take more bytes. HttpError: as `BodyBudget.take`."""
        self._budget.take(count, self._bytes)
        self._bytes += count

    def retain(self) -> None:
        """Add a user of the body."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """End one use; the last one gives the bytes back."""
        with self._lock:
            self._users -= 1
            is_last = self._users == 0
        if is_last:
            self._budget.give_back(self._bytes)


def begin_hold(scope: MutableMapping[str, Any], budget: BodyBudget) -> BodyHold:
    """Create the hold of a request, which `end_hold` ends."""
    hold = BodyHold(budget)
    scope[_KEY] = hold
    return hold


def hold_of(scope: MutableMapping[str, Any]) -> BodyHold:
    """Return the hold of a request whose body has been read."""
    hold = scope[_KEY]
    if not isinstance(hold, BodyHold):
        raise TypeError("the body has not been read")
    return hold


def end_hold(scope: MutableMapping[str, Any]) -> None:
    """End the request's own use of its body, if it has one."""
    if _KEY in scope:
        hold_of(scope).release()
        del scope[_KEY]
