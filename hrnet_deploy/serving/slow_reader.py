"""Clients that do not read their response: their connection and its memory are released."""

from __future__ import annotations

import asyncio

_LEAST_BYTES = 1 << 16


class SlowReaderWatch:
    """Aborts a connection where less than 64 KiB of what is buffered, and not all of it, is read in one interval."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, interval_s: float) -> None:
        self._transport, self._loop, self._interval_s = transport, loop, interval_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval_s, self._check, self._left)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _left(self) -> int:
        return self._transport.get_write_buffer_size()

    def _check(self, before: int) -> None:
        """Abort, or look again."""
        self._timer = None
        if self._left and before - self._left < _LEAST_BYTES:
            self._transport.abort()
        elif self._left:
            self.start()
