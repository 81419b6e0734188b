"""Limits of connections, added to the protocol class of the HTTP server: number, heads, and slow readers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hrnet_deploy.limits import HTTP_HEAD_BYTES
from hrnet_deploy.serving.slow_reader import SlowReaderWatch

_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


def limited(protocol: Any, *, connections: int, head_timeout_s: float) -> Any:
    """Create a protocol class with limits.

    Args:
        protocol: uvicorn's class, for h11 or httptools: it has `connections`, the open ones, `cycle`, the last
            request with a whole head, and `send_400_response`.
        connections: most connections at a time; one more is refused with 503.
        head_timeout_s: time from the first byte of a head, or from the connection, to its end; also the interval in
            which a client must read a part of its response.

    Returns:
        The class.
    """
    return type("Limited", (_Limited, protocol), {"most_connections": connections, "head_timeout_s": head_timeout_s})


class _Limited(asyncio.Protocol):
    """A connection whose client must send a head in time, and read its response; the rest is uvicorn's."""

    most_connections: int
    head_timeout_s: float
    transport: Any
    connections: Any
    cycle: Any
    loop: Any
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Refuse a connection too many; else wait for the first head."""
        super().connection_made(transport)
        self._reader = SlowReaderWatch(transport, self.loop, self.head_timeout_s)
        if len(self.connections) > self.most_connections:
            self._refuse(503, f"server must have at most {self.most_connections} connections, got one more. Try again.")
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the timers."""
        self._end_wait()
        self._reader.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Begin or end the wait for a head."""
        if self.transport.is_closing():
            return
        before = self.cycle
        is_between = before is None or before.response_complete
        if is_between:
            self._head_bytes += len(data)
            if self._timer is None:
                self._await_head()
        super().data_received(data)
        if self.cycle is not before:
            self._end_wait()
        elif is_between and self._head_bytes > HTTP_HEAD_BYTES:
            self._refuse(431, f"head must have at most {HTTP_HEAD_BYTES:,} bytes, got more. Send fewer headers.")

    def pause_writing(self) -> None:
        """Watch a client that reads more slowly than the response is written."""
        super().pause_writing()
        self._reader.start()

    def resume_writing(self) -> None:
        """End the watch, unless the rest is all that the connection waits for."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._reader.stop()

    def on_response_complete(self) -> None:
        """Watch the rest of a last response."""
        super().on_response_complete()  # type: ignore[misc]
        self._watch_end()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        super().timeout_keep_alive_handler()  # type: ignore[misc]
        self._watch_end()

    def _watch_end(self) -> None:
        if self.transport.is_closing():
            self._reader.start()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are no HTTP; a request whose body they end counts as left by its client."""
        del msg
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
        else:
            self._refuse(400, "request must be HTTP/1.1, got bytes that are none. Correct the client.")

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.head_timeout_s, self._time_out)

    def _end_wait(self) -> None:
        self._head_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408, f"head must arrive within {self.head_timeout_s:g} s, got a part of it. Send it faster.")

    def _refuse(self, status: int, sentence: str) -> None:
        """Respond without the application, and close."""
        body = json.dumps({"error": sentence}).encode()
        retry = "Retry-After: 1\r\n" if status == 503 else ""
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: application/json\r\n{retry}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        self._watch_end()
