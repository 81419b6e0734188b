"""One HTTP connection whose requests end at a deadline."""

from __future__ import annotations

import http.client
import itertools
import selectors
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hrnet_deploy.engines.remote.address import ModelUrl
from hrnet_deploy.system.timed_socket import TimedSocket

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
        self._socket = _HoldingSocket(self._http.sock)
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


class _HoldingSocket(TimedSocket):
    """A socket that sends a request as a whole."""

    def __init__(self, raw: Any) -> None:
        super().__init__(raw)
        self._parts: list[Part] = []

    def sendall(self, data: Part) -> None:
        """Hold what `http.client` sends piece by piece, until `flush`."""
        self._parts.append(data)

    def flush(self) -> None:
        """Send what is held: small parts together, because each packet wakes the server, and large ones uncopied."""
        parts, self._parts = self._parts, []
        for is_large, group in itertools.groupby(parts, lambda part: len(part) > _LARGE_BYTES):
            for data in group if is_large else [b"".join(group)]:
                super().sendall(data)
