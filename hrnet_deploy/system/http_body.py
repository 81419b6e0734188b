"""The body of a response, read piece by piece with a least rate and within a total time."""

from __future__ import annotations

import http.client
import math
import re
import time

from hrnet_deploy.limits import DOWNLOAD_BYTES_PER_S
from hrnet_deploy.system.timed_socket import TimedSocket

_PIECE_BYTES = 1 << 16
_WINDOW_S = 30.0
"""Time over which the rate is measured, and limit of each wait."""
_LENGTH = re.compile(r"[0-9]{1,18}")


class HttpBody:
    """An open response; a context manager.

    Attributes:
        status: status code of HTTP.
        headers: of the response.
        length: size of the body in bytes; None where the server does not give it.
        is_framed: whether the end of the body can be told from a lost connection.
    """

    def __init__(self, response: http.client.HTTPResponse, socket: TimedSocket, total_s: float = math.inf) -> None:
        self.status, self.headers = response.status, response.headers
        self._response, self._socket = response, socket
        self._total_s = total_s
        self._window_began = time.monotonic()
        self._end = self._window_began + total_s
        self._window_bytes = 0
        self.length = _length(response)
        self.is_framed = response.chunked or self.length is not None

    def __enter__(self) -> HttpBody:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def read(self, count: int) -> bytes:
        """Read at most `count` bytes; b"" at the end. TimeoutError: too slow."""
        now = time.monotonic()
        self._socket.deadline = min(now + _WINDOW_S, self._end)
        try:
            piece = self._response.read1(count)
        except TimeoutError as error:
            reason = f"not complete after {self._total_s:g} s" if time.monotonic() >= self._end else "no more data"
            raise TimeoutError(reason) from error
        now = time.monotonic()
        if piece and now > self._end:
            raise TimeoutError(f"not complete after {self._total_s:g} s")
        self._check_rate(len(piece), now)
        return piece

    def read_all(self, limit_bytes: int) -> bytes | None:
        """Read the whole body; None where it is larger than the limit. ConnectionError: cut short."""
        if (self.length or 0) > limit_bytes:
            return None
        content = bytearray()
        while piece := self.read(_PIECE_BYTES):
            content += piece
            if len(content) > limit_bytes:
                return None
        if len(content) < (self.length or 0):
            raise ConnectionError(f"the connection closed after {len(content)} of {self.length} bytes")
        return bytes(content)

    def _check_rate(self, count: int, now: float) -> None:
        """Refuse a server that sends single bytes."""
        self._window_bytes += count
        seconds = now - self._window_began
        if seconds >= _WINDOW_S:
            if count and self._window_bytes < DOWNLOAD_BYTES_PER_S * _WINDOW_S:
                raise TimeoutError(f"{self._window_bytes} bytes in {seconds:.0f} s, which is too slow")
            self._window_began, self._window_bytes = now, 0


def _length(response: http.client.HTTPResponse) -> int | None:
    """Read the size of a body; ValueError for one that clients would read in different ways."""
    coding = response.headers.get("Transfer-Encoding")
    if coding is not None and not response.chunked:
        raise ValueError(f"the transfer encoding {coding[:40]!r}")
    given = {text.strip() for text in response.headers.get_all("Content-Length", [])}
    if response.chunked or not given:
        return None
    text = given.pop()
    if given or not _LENGTH.fullmatch(text):
        raise ValueError(f"a Content-Length that is no number of bytes, {text[:40]!r}")
    return int(text)
