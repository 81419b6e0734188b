"""Limits of connections on both of uvicorn's parsers: number, and time and size of a head."""

import contextlib
import socket
import threading
import time

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from hrnet_deploy.serving.connections import limited

LARGE = 30_000_000


async def application(scope, receive, send):
    """Responds with the size of the body, once it has all of it."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if not message["more_body"]:
            break
    content = bytes(LARGE) if scope["path"] == "/large" else str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]})
    await send({"type": "http.response.body", "body": content})


def protocols():
    yield H11Protocol
    with contextlib.suppress(ImportError):
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

        yield HttpToolsProtocol


@pytest.fixture(params=protocols(), ids=lambda kind: kind.__name__)
def protocol_port(request):
    """A server with at most three connections, and 0.3 s for a head: its port and its state."""
    config = uvicorn.Config(application, lifespan="off", log_config=None, ws="none")
    config.load()
    config.http_protocol_class = limited(request.param, connections=3, head_timeout_s=0.3)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()[1], server.server_state
        server.should_exit = True
        thread.join()


@pytest.fixture
def port(protocol_port):
    return protocol_port[0]


def exchange(port, *parts, wait_s=0.0):
    """What comes back for these parts until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with contextlib.suppress(OSError):
            for part in parts:
                connection.sendall(part)
                time.sleep(wait_s)
        with contextlib.suppress(OSError):
            while chunk := connection.recv(1 << 16):
                received += chunk
    return received


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
WHOLE = HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc"


def test_a_whole_request_passes(port):
    assert exchange(port, WHOLE).endswith(b"\r\n\r\n3")
    parts = [WHOLE[index : index + 7] for index in range(0, len(WHOLE), 7)]
    assert exchange(port, *parts).endswith(b"\r\n\r\n3")


@pytest.mark.parametrize("part", [b"", b"POST / HT", HEAD])
def test_a_slow_head_is_refused(port, part):
    assert exchange(port, part).startswith(b"HTTP/1.1 408 Request Timeout")


def test_a_slow_body_has_its_own_limit(port):
    assert exchange(port, WHOLE[:-1], b"c", wait_s=0.5).endswith(b"\r\n\r\n3")


def test_a_large_head_is_refused(port):
    response = exchange(port, HEAD, *[b"X-%d: " % index + b"a" * 9000 + b"\r\n" for index in range(10)])
    assert response[:12] in {b"", b"HTTP/1.1 431", b"HTTP/1.1 400"}  # h11 has a limit of its own


def test_what_is_no_http_is_refused(port):
    response = exchange(port, b"\x16\x03\x01\x02\x00\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 400 Bad Request")
    assert b'{"error": "request must be HTTP' in response


def test_a_broken_chunk_ends_its_request(port):
    response = exchange(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\nabc\r\n", wait_s=0.05)
    assert response.startswith(b"HTTP/1.1 400 Bad Request")


def test_one_connection_too_many_is_refused(port):
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        time.sleep(0.05)
        response = exchange(port, WHOLE)
    assert response.startswith(b"HTTP/1.1 503 Service Unavailable")
    assert b"Retry-After: 1\r\n" in response


def test_a_client_that_does_not_read_is_let_go(protocol_port):
    """The kernel holds the start of a large response, the transport the rest, and the client reads nothing."""
    port, state = protocol_port
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        deadline = time.monotonic() + 10
        while not state.total_requests:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert len(state.connections) == 1
        while state.connections:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_client_that_reads_slowly_gets_all_of_it(protocol_port):
    port, _ = protocol_port
    received = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while chunk := connection.recv(1 << 20):
            received += len(chunk)
            time.sleep(0.05)
    assert received > LARGE
