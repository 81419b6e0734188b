"""A pool that lends execution slots to threads and creates them on demand, up to a limit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from hrnet_deploy.engines.tensorrt.execution_slot import ExecutionSlot
from hrnet_deploy.errors import DeviceError, UsageError

_LOG = logging.getLogger(__name__)


class SlotPool:
    """Lends each thread a slot of its own, because execution contexts are not thread-safe."""

    def __init__(self, create: Callable[[], ExecutionSlot], limit: int, name: str) -> None:
        """Create the first slot at once, so that a failure shows when the engine is opened."""
        self._create = create
        self._limit = limit
        self._name = name
        self._count = 1
        self._closed = False
        self._changed = threading.Condition()
        self._idle = [create()]

    @contextmanager
    def lease(self) -> Iterator[ExecutionSlot]:
        """Lend a slot for a block; a slot that fails in it is closed, and replaced on demand."""
        slot = self._take()
        try:
            yield slot
        except UsageError:
            self._return(slot)
            raise
        except BaseException:
            self._discard(slot)  # work may still be on its stream
            raise
        self._return(slot)

    def close(self) -> None:
        """Close the idle slots now, and the others when they are returned."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        with ExitStack() as stack:  # closes the others also when one fails
            for slot in idle:
                stack.callback(slot.close)

    def _take(self) -> ExecutionSlot:
        while True:
            with self._changed:
                # The slot used last comes first: its memory and graphs are warm.
                self._changed.wait_for(lambda: self._closed or self._idle or self._count < self._limit)
                if self._closed:
                    raise DeviceError(f"{self._name} must be open to run, got a closed engine. Open it again.")
                if self._idle:
                    return self._idle.pop()
                self._count += 1
            slot = self._grow()
            if slot is not None:
                return slot

    def _grow(self) -> ExecutionSlot | None:
        """Create one more slot; None where memory does not suffice and others exist."""
        try:
            return self._create()
        except BaseException as error:
            with self._changed:
                self._count -= 1
                others = self._count
                self._changed.notify_all()
                if not others or not isinstance(error, DeviceError):
                    raise
                self._limit = max(others, 1)
            _LOG.warning("%s runs %d at a time, because one more does not fit: %s", self._name, others, error)
            return None

    def _return(self, slot: ExecutionSlot) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append(slot)
                self._changed.notify()
                return
        slot.close()

    def _discard(self, slot: ExecutionSlot) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify()
        with suppress(DeviceError):  # the first failure explains more
            slot.close()
