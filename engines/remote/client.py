"""Requests to one server over kept-alive connections, with sizes and times limited."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hrnet_deploy.engines.remote.connection import CONNECT_S, Connection, Part, UnsentError
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.engines.remote.status import status_error
from hrnet_deploy.errors import DeviceError, one_line
from hrnet_deploy.limits import ERROR_BYTES
from hrnet_deploy.system.text_table import printable
from hrnet_deploy.v2_tensors import HEADER_LENGTH
from hrnet_deploy.version import VERSION

_PIECE_BYTES = 1 << 16
_ALIGNMENT = 64
_REASON_CHARACTERS = 200


@dataclass(frozen=True)
class Response:
    """A successful response.

    Attributes:
        body: the whole body; its binary tensors begin at an aligned address.
        json_bytes: number of bytes before them; None for a body without them.
    """

    body: memoryview
    json_bytes: int | None


class Client:
    """HTTP requests to a model's server; safe to use from several threads.

    Each thread that sends has a connection of its own, which later requests use again. Proxies of the environment
    (HTTP_PROXY and the like) are ignored, because `http.client` does not know them. TLS certificates are verified with
    the system's authorities, or with those of SSL_CERT_FILE.
    """

    def __init__(self, served: RemoteModel) -> None:
        self.address = served.address
        self._timeout_s = served.timeout_s
        self._headers = {"User-Agent": f"hrnet-deploy/{VERSION}", "Accept-Encoding": "identity"}
        if served.token is not None:
            self._headers["Authorization"] = f"Bearer {served.token.text}"
        self._context = _tls_context() if self.address.scheme == "https" else None
        self._idle: list[Connection] = []
        self._process = os.getpid()
        self._lock = threading.Lock()
        self.closed = False

    def get(self, path: str, limit_bytes: int) -> Response:
        """Fetch what can be fetched again.

        Args:
            path: absolute path.
            limit_bytes: largest body.

        Returns:
            The response.

        Raises:
            HrnetDeployError: as `post`.
        """
        return self._request("GET", path, {}, (), lambda _: limit_bytes)

    def post(
        self, path: str, headers: Mapping[str, str], body: Sequence[Part], limit_bytes: Callable[[int | None], int]
    ) -> Response:
        """Send a request that the server receives once at most.

        Args:
            path: absolute path.
            headers: beside those of every request.
            body: parts of the body.
            limit_bytes: largest body of the response for its number of bytes of JSON (None: all of it).

        Returns:
            The response.

        Raises:
            DeviceError: the server is unreachable, busy or slow, or breaks the protocol.
            UsageError: the server refuses the request or the token.
            ArtifactError: the server does not know the model.
        """
        return self._request("POST", path, headers, body, limit_bytes)

    def close(self) -> None:
        """Close the connections; those in use close after their request."""
        with self._lock:
            self.closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Sequence[Part],
        limit_bytes: Callable[[int | None], int],
    ) -> Response:
        try:
            connection, reply = self._send(method, path, {**self._headers, **headers}, body)
            try:
                if reply.status != http.client.OK:
                    raise status_error(self.address, method, reply, _error_body(reply))
                return _read(reply, limit_bytes)
            finally:
                self._release(connection, reply)
        except TimeoutError as error:
            raise DeviceError(
                f"{self.address} must respond within {self._timeout_s:g} s, got no complete response. Check its load, "
                "or give more time by --timeout (in Python: timeout=)."
            ) from error
        except (OSError, http.client.HTTPException, UnsentError) as error:
            reason = printable(one_line(error, _REASON_CHARACTERS)) or type(error).__name__
            raise DeviceError(
                f"{self.address} must respond in HTTP, got a broken connection ({reason}). Check the server's log."
            ) from error

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: Sequence[Part]
    ) -> tuple[Connection, http.client.HTTPResponse]:
        """Send on an idle connection, and once more on a new one if the server had closed the idle one."""
        connection = self._take()
        if connection is not None:
            try:
                return connection, connection.send(method, path, headers, body, self._timeout_s)
            except UnsentError:
                connection.close()
            except http.client.RemoteDisconnected:
                connection.close()
                if method != "GET":  # the server may have computed it
                    raise
            except BaseException:
                connection.close()
                raise
        connection = self._connect()
        try:
            return connection, connection.send(method, path, headers, body, self._timeout_s)
        except BaseException:
            connection.close()
            raise

    def _take(self) -> Connection | None:
        """Take an idle connection that is still open."""
        while True:
            with self._lock:
                if self._process != os.getpid():  # after a fork the connections are the parent's
                    self._process, self._idle = os.getpid(), []
                connection = self._idle.pop() if self._idle else None
            if connection is None or not connection.is_stale():
                return connection
            connection.close()

    def _release(self, connection: Connection, reply: http.client.HTTPResponse) -> None:
        """Keep a connection whose response was read to its end."""
        with self._lock:
            kept = reply.isclosed() and not reply.will_close and not self.closed
            if kept:
                self._idle.append(connection)
        if not kept:
            reply.close()
            connection.close()

    def _connect(self) -> Connection:
        origin = self.address.origin
        try:
            return Connection(self.address, self._context)
        except socket.gaierror as error:
            raise DeviceError(f"server must have a known name, got {origin} ({error.strerror}). Check it.") from error
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or one_line(error, _REASON_CHARACTERS)
            raise DeviceError(
                f"server must offer TLS that can be verified, got {reason} from {origin}. Name its authority in "
                "SSL_CERT_FILE, or use http:// for a server without TLS."
            ) from error
        except TimeoutError as error:
            raise DeviceError(
                f"server must accept a connection within {CONNECT_S:g} s, got none from {origin}. Check host and port."
            ) from error
        except OSError as error:
            reason = error.strerror or one_line(error, _REASON_CHARACTERS)
            raise DeviceError(
                f"server must accept connections, got '{reason}' from {origin}. Is it running, and is the port right?"
            ) from error


def _tls_context() -> ssl.SSLContext:
    """Verify certificates and host names."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _error_body(reply: http.client.HTTPResponse) -> bytes:
    """Read the start of the body of an error."""
    content = bytearray()
    try:
        if not reply.chunked:
            return reply.read(ERROR_BYTES)
        while len(content) < ERROR_BYTES and (piece := reply.read1(ERROR_BYTES - len(content))):
            content += piece
    except (OSError, http.client.HTTPException):
        return b""
    return bytes(content)


def _read(reply: http.client.HTTPResponse, limit_bytes: Callable[[int | None], int]) -> Response:
    """Read a body whose size is checked before memory is taken for it."""
    json_bytes = _size(reply, HEADER_LENGTH)
    limit = limit_bytes(json_bytes)
    coding = reply.headers.get("Transfer-Encoding")
    if coding is not None and not reply.chunked:
        raise DeviceError(f"Transfer-Encoding must be chunked, got {coding[:40]!r}. Correct the server or its proxy.")
    size = None if reply.chunked else _size(reply, "Content-Length")
    if reply.headers.get("Content-Encoding", "identity") != "identity":
        raise DeviceError("a response must not be compressed, got Content-Encoding. Correct the server or its proxy.")
    if (size or 0) > limit:
        raise _too_large(f"{size:,}", limit)
    offset = -(json_bytes or 0) % _ALIGNMENT
    if size is not None:
        body = np.empty(offset + size, np.uint8).data[offset:]
        got = 0
        while got < size and (count := reply.readinto(body[got:])):
            got += count
        if got < size:
            raise http.client.IncompleteRead(b"", size - got)
        return Response(body, json_bytes)
    content = bytearray(offset)
    while piece := reply.read1(_PIECE_BYTES):  # read() takes a negative size of a chunk for all that follows
        content += piece
        if len(content) - offset > limit:
            raise _too_large("more", limit)
    return Response(memoryview(content)[offset:], json_bytes)


def _size(reply: http.client.HTTPResponse, header: str) -> int | None:
    """Read a header with a number of bytes; `http.client` takes a wrong one for none."""
    text = reply.headers.get(header)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise DeviceError(f"{header} must be a number of bytes, got {text[:40]!r}. Correct the server.")
    return int(text)


def _too_large(size: str, limit: int) -> DeviceError:
    return DeviceError(
        f"response must have at most the {limit:,} bytes of the outputs, got {size}. Is this the model of the card?"
    )
