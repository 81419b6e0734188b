"""Lanes lent to threads: made when first needed, up to a limit, then waited for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Generic, Protocol, TypeVar

from hrnet_deploy.errors import DeviceError, UsageError

_LOG = logging.getLogger(__name__)


class Closable(Protocol):
    """What a pool holds."""

    def close(self) -> None:
        """Release everything, once."""
        ...


T = TypeVar("T", bound=Closable)


class SlotPool(Generic[T]):
    """Lends each thread a lane of its own: an execution context is not safe to share."""

    def __init__(self, make: Callable[[], T], limit: int, name: str) -> None:
        """Make the first lane, so that what cannot work is known when the engine is opened.

        Args:
            make: makes a lane.
            limit: lanes at most, at least 1.
            name: of the artefact, for messages.

        Raises:
            DeviceError: the first lane could not be made.
        """
        self._make = make
        self._limit = limit
        self._name = name
        self._made = 1
        self._closed = False
        self._changed = threading.Condition()
        self._idle = [make()]

    @contextmanager
    def lease(self) -> Iterator[T]:
        """Lend a lane for a block; one that fails in it is closed and replaced when next needed.

        Yields:
            The lane.

        Raises:
            DeviceError: the pool is closed, or no lane could be made.
        """
        lane = self._take()
        try:
            yield lane
        except UsageError:
            self._give(lane)
            raise
        except BaseException:
            self._drop(lane)  # work may still be on its stream
            raise
        self._give(lane)

    def close(self) -> None:
        """Close the idle lanes now and the others when they come back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        with ExitStack() as stack:  # closes the others also when one fails
            for lane in idle:
                stack.callback(lane.close)

    def _take(self) -> T:
        while True:
            with self._changed:
                # The lane used last comes first: its memory and graphs are warm.
                self._changed.wait_for(lambda: self._closed or self._idle or self._made < self._limit)
                if self._closed:
                    raise DeviceError(f"{self._name} must be open to run, got a closed engine. Open it again.")
                if self._idle:
                    return self._idle.pop()
                self._made += 1
            lane = self._grown()
            if lane is not None:
                return lane

    def _grown(self) -> T | None:
        """One more lane, or None where the others have to do."""
        try:
            return self._make()
        except BaseException as error:
            with self._changed:
                self._made -= 1
                others = self._made
                self._changed.notify_all()
                if not others or not isinstance(error, DeviceError):
                    raise
                self._limit = max(others, 1)
            _LOG.warning("%s runs %d at a time, for one more does not fit: %s", self._name, others, error)
            return None

    def _give(self, lane: T) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append(lane)
                self._changed.notify()
                return
        lane.close()

    def _drop(self, lane: T) -> None:
        with self._changed:
            self._made -= 1
            self._changed.notify()
        with suppress(DeviceError):  # the failure that brought us here says more
            lane.close()
