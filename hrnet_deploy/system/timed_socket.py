"""A socket whose reads and writes end at a deadline.

`http.client` limits each wait of a socket, so a server that sends single bytes could hold a caller forever.
"""

from __future__ import annotations

import io
import socket
import time
from typing import Any


class TimedSocket:
    """The part of a socket that `http.client` uses, with a deadline for all of it.

    Attributes:
        raw: the connected socket, with or without TLS.
        deadline: value of `time.monotonic` at which every wait ends.
    """

    def __init__(self, raw: Any, deadline: float = 0.0) -> None:
        self.raw: socket.socket = raw
        self.deadline = deadline

    def sendall(self, data: bytes | memoryview) -> None:
        """Send all of it before the deadline."""
        self.limit()
        self.raw.sendall(data)  # its timeout is one for the whole call

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return a reader of the socket."""
        return io.BufferedReader(_TimedReader(self.raw.makefile("rb", buffering=0), self))

    def close(self) -> None:
        """Close the socket; a reader of it stays open."""
        self.raw.close()

    def limit(self) -> None:
        """Let the next wait end at the deadline."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.raw.settimeout(left)


class _TimedReader(io.RawIOBase):
    """Reads a socket up to its deadline."""

    def __init__(self, raw: Any, timed: TimedSocket) -> None:
        self._raw, self._timed = raw, timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._timed.limit()
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
