"""One HTTP connection whose requests end at a deadline.

`http.client` limits each wait of a socket, so a server that sends single bytes could hold a caller forever.
"""

from __future__ import annotations

import http.client
import io
import itertools
import selectors
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hrnet_deploy.engines.remote.address import ModelUrl

CONNECT_S = 10.0
"""Limit of a connection, its TLS handshake included."""

Part = bytes | memoryview
_LARGE_BYTES = 64 << 10


class UnsentError(Exception):
    """The connection ended before the server had the whole request, so it may be sent again."""


class Connection:
    """An open connection to a server; one thread uses it at a time."""

    def __init__(self, address: ModelUrl, context: ssl.SSLContext | None) -> None:
        """Connect; the errors are those of `http.client`, `socket` and `ssl`."""
        if context is None:
            self._http = http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_S)
        else:
            self._http = http.client.HTTPSConnection(address.host, address.port, timeout=CONNECT_S, context=context)
        try:
            self._http.connect()  # with TCP_NODELAY
        except BaseException:
            self._http.close()
            raise
        self._http.auto_open = 0
        self._failed = False
        self._socket = _TimedSocket(self._http.sock)
        self._http.sock = self._socket

    def is_stale(self) -> bool:
        """Whether the connection cannot be used again: closed by the server, or with data that nobody requested."""
        if self._failed:
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket.raw, selectors.EVENT_READ)
            return bool(selector.select(0))

    def send(
        self, method: str, path: str, headers: Mapping[str, str], body: Sequence[Part], timeout_s: float
    ) -> http.client.HTTPResponse:
        """Send a request and return its response with the body unread.

        Raises:
            UnsentError: the server has not received all of it.
            OSError: the connection failed later, or the time is up.
            http.client.HTTPException: the response is not HTTP.
        """
        self._socket.deadline = time.monotonic() + timeout_s
        http_ = self._http
        http_.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            http_.putheader(name, value)
        if body:
            http_.putheader("Content-Length", str(sum(map(len, body))))
        http_.endheaders()
        for part in body:
            http_.send(part)
        try:
            self._socket.flush()
        except (BrokenPipeError, ConnectionResetError, ConnectionAbortedError) as error:
            self._failed = True
            try:
                return http_.getresponse()  # such as 413, sent before the end of the body
            except (OSError, http.client.HTTPException):
                raise UnsentError(str(error)) from error
        return http_.getresponse()

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        self._http.close()
        self._socket.close()


class _TimedSocket:
    """The part of a socket that `http.client` uses, with a deadline for all of it."""

    def __init__(self, raw: Any) -> None:
        self.raw: socket.socket = raw
        self.deadline = 0.0
        self._parts: list[Part] = []

    def sendall(self, data: Part) -> None:
        """Hold what `http.client` sends piece by piece, until `flush`."""
        self._parts.append(data)

    def flush(self) -> None:
        """Send what is held: small parts together, because each packet wakes the server, and large ones uncopied."""
        parts, self._parts = self._parts, []
        for is_large, group in itertools.groupby(parts, lambda part: len(part) > _LARGE_BYTES):
            for data in group if is_large else [b"".join(group)]:
                self.limit()
                self.raw.sendall(data)  # its timeout is one for the whole call

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self.raw.makefile("rb", buffering=0), self))

    def close(self) -> None:
        self.raw.close()

    def limit(self) -> None:
        """Let the next wait end at the deadline."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.raw.settimeout(left)


class _TimedReader(io.RawIOBase):
    """Reads a socket up to its deadline."""

    def __init__(self, raw: Any, timed: _TimedSocket) -> None:
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
