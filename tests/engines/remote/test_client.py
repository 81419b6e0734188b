"""Requests over kept-alive connections: when they are sent again, when they end, and how much they may bring."""

import os
import socket
import threading
import time
import tracemalloc

import pytest
from helpers.raw_server import raw_server

from hrnet_deploy.engines.remote.client import Client
from hrnet_deploy.engines.remote.remote_model import RemoteModel, Token
from hrnet_deploy.errors import ArtifactError, DeviceError, UsageError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def client_of(server, **options):
    return Client(RemoteModel(f"http://127.0.0.1:{server.port}/v2/models/m", **options))


def get(client, limit=1000):
    return bytes(client.get("/v2", limit).body)


def post(client, body=(b"x",), limit=1000):
    return bytes(client.post("/v2/models/m/infer", {}, body, lambda _: limit).body)


def test_requests_share_a_connection():
    with raw_server(OK) as server:
        client = client_of(server)
        assert [get(client), post(client), get(client)] == [b"{}"] * 3
        assert server.connections == 1
        client.close()


def test_each_thread_has_a_connection_and_later_ones_use_them_again():
    arrived = threading.Barrier(3)

    def script(server, connection, _):
        while server.receive(connection):
            arrived.wait(10)
            connection.sendall(OK)

    with raw_server(script) as server:
        client = client_of(server)
        for _ in range(2):
            threads = [threading.Thread(target=get, args=(client,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert server.connections == 3
        client.close()


def test_a_connection_closed_while_idle_is_opened_again():
    def script(server, connection, _):
        server.receive(connection)
        connection.sendall(OK)

    with raw_server(script) as server:
        client = client_of(server)
        for _ in range(3):
            assert post(client) == b"{}"
            time.sleep(0.05)
        assert (server.connections, len(server.requests)) == (3, 3)


def test_a_request_that_may_have_been_computed_is_not_sent_again():
    def script(server, connection, number):
        server.receive(connection)
        if number == 1:
            connection.sendall(OK)
            server.receive(connection)  # and then the server ends without a response

    with raw_server(script) as server:
        client = client_of(server)
        post(client)
        with pytest.raises(DeviceError, match="broken connection"):
            post(client)
        assert len(server.requests) == 2


def test_a_question_is_asked_again_on_a_new_connection():
    def script(server, connection, number):
        server.receive(connection)
        if number == 1:
            connection.sendall(OK)
            server.receive(connection)
        else:
            connection.sendall(OK)

    with raw_server(script) as server:
        client = client_of(server)
        assert [get(client), get(client)] == [b"{}", b"{}"]
        assert server.connections == 2


def test_a_refusal_before_the_end_of_the_body_is_read():
    def script(_, connection, __):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 21\r\nConnection: close\r\n\r\n")
        connection.sendall(b'{"error": "too large"')
        time.sleep(0.2)

    with raw_server(script) as server, pytest.raises((UsageError, DeviceError), match=r"127\.0\.0\.1"):
        post(client_of(server), [b"x", bytes(50_000_000)])


def test_single_bytes_do_not_hold_a_caller():
    def script(server, connection, _):
        server.receive(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    with raw_server(script) as server:
        start = time.monotonic()
        with pytest.raises(DeviceError, match=r"must respond within 0.3 s"):
            get(client_of(server, timeout_s=0.3), 200_000)
        assert time.monotonic() - start < 3


def test_a_silent_server_is_slow():
    def script(server, connection, _):
        server.receive(connection)
        server.receive(connection)

    with raw_server(script) as server, pytest.raises(DeviceError, match=r"must respond within 0.2 s"):
        post(client_of(server, timeout_s=0.2))


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000000000\r\n\r\n", "at most the 1,000 bytes.*got 2,000,000,000"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: NaN\r\n\r\nx", "Content-Length must be a number.*'NaN'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx", "Content-Length must be a number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\nx", "Content-Length must be a number"),
        (b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: NaN\r\nContent-Length: 1\r\n\r\nx", "Inference-Header"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "not be compressed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + bytes(1 << 17), "at most the 1,000 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "broken connection"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(5000), "at most the 1,000 bytes"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", "broken connection"),
        (b"HTTP/1.1 2oo OK\r\n\r\n", "broken connection"),
        (b"SSH-2.0-OpenSSH_9.2\x1b[2J\r\n", r"broken connection \(SSH-2.0-OpenSSH_9.2\\x1b"),
        (b"", "broken connection"),
    ],
)
def test_a_broken_response_is_one_line(response, reason):
    def script(server, connection, _):
        server.receive(connection)
        connection.sendall(response)

    with raw_server(script) as server, pytest.raises(DeviceError, match=reason) as caught:
        get(client_of(server))
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_truncated_response_is_an_error():
    def script(server, connection, _):
        server.receive(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nabc")

    with raw_server(script) as server, pytest.raises(DeviceError, match="497 more expected"):
        get(client_of(server))


def test_a_size_is_checked_before_memory_is_taken():
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n") as server:
        tracemalloc.start()
        with pytest.raises(DeviceError, match="at most"):
            get(client_of(server))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
        tracemalloc.stop()


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 6\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n6\r\n", b"Connection: close\r\n\r\n"]
)
def test_tensors_begin_at_an_aligned_address(framing):
    tail = b"\r\n0\r\n\r\n" if b"chunked" in framing else b""

    def script(server, connection, _):
        server.receive(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nInference-Header-Content-Length: 2\r\n" + framing + b"{}\1\2\3\4" + tail
        )

    with raw_server(script) as server:
        response = client_of(server).get("/v2", 1000)
        assert (bytes(response.body), response.json_bytes) == (b"{}\1\2\3\4", 2)


STATUSES = [
    (301, b"Location: http://other/\r\n", b"", UsageError, r"redirect \(301\) to http://other/, which is not followed"),
    (307, b"Location: http://o\x1b[2J/\r\n", b"", UsageError, r"redirect \(307\) to http://o\\x1b"),
    (401, b"", b"", UsageError, "accept the token, got HTTP 401.*--token-file"),
    (403, b"", b'{"error": "not yours"}', UsageError, r"HTTP 403 \(not yours\)"),
    (
        404,
        b"Content-Type: text/html\r\n",
        b"<html>",
        ArtifactError,
        r"a model of a V2 server, got HTTP 404 \(a web page\)",
    ),
    (404, b"", b'{"error": "no model m"}', ArtifactError, r"HTTP 404 \(no model m\)"),
    (400, b"", b'{"error": "bad\\n\\u001b[2J shape"}', UsageError, r"accept the request, got HTTP 400 \(bad \\x1b"),
    (413, b"", b"", UsageError, "HTTP 413.*smaller batch"),
    (422, b"", b'{"error": ["x"]}', UsageError, "HTTP 422"),
    (503, b"Retry-After: 7\r\n", b'{"error": "queue full"}', DeviceError, r"\(queue full\). Try again after 7 s"),
    (
        503,
        b"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n",
        b"",
        DeviceError,
        "again after Fri, 31 Dec 1999 23:59:59 GMT",
    ),
    (503, b"", b"", DeviceError, "Try again later"),
    (504, b"", b'{"error": "took too long"}', DeviceError, "took too long"),
    (500, b"", b"not json", DeviceError, "must serve the request, got HTTP 500"),
    (204, b"", b"", DeviceError, "HTTP 204"),
]


@pytest.mark.parametrize(("status", "headers", "body", "kind", "reason"), STATUSES)
def test_a_status_is_one_line(status, headers, body, kind, reason):
    head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n".encode()
    with raw_server(head + headers + b"\r\n" + body) as server:
        client = client_of(server)
        with pytest.raises(kind, match=reason) as caught:
            post(client)
        assert "\n" not in str(caught.value)
        assert "\x1b" not in str(caught.value)
        assert len(server.requests) == 1


def test_a_connection_survives_an_error_that_was_read():
    with raw_server(b'HTTP/1.1 503 x\r\nContent-Length: 14\r\n\r\n{"error": "x"}') as server:
        client = client_of(server)
        for _ in range(3):
            with pytest.raises(DeviceError):
                post(client)
        assert server.connections == 1


def test_an_endless_error_is_cut():
    with raw_server(b"HTTP/1.1 500 x\r\n\r\n" + bytes(1 << 20)) as server, pytest.raises(DeviceError, match="HTTP 500"):
        post(client_of(server))


def test_the_token_is_a_header_and_is_not_shown():
    with raw_server(b"HTTP/1.1 302 x\r\nLocation: http://other/\r\nContent-Length: 0\r\n\r\n") as server:
        client = client_of(server, token=Token("secret"))
        with pytest.raises(UsageError) as caught:
            post(client)
        assert b"Authorization: Bearer secret\r\n" in server.requests[0]
        assert "secret" not in str(caught.value)
        assert len(server.requests) == 1


def test_proxies_of_the_environment_are_ignored(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with raw_server(OK) as server:
        assert get(client_of(server)) == b"{}"


def test_a_refused_connection_and_an_unknown_name():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(
        DeviceError, match=r"must accept connections, got 'Connection refused' from http://127.0.0.1:\d+"
    ):
        get(Client(RemoteModel(f"http://127.0.0.1:{port}/v2/models/m")))
    with pytest.raises(DeviceError, match=r"must have a known name, got http://nowhere.invalid"):
        get(Client(RemoteModel("http://nowhere.invalid/v2/models/m")))


def test_a_server_without_tls_is_no_https():
    def script(_, connection, __):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with raw_server(script) as server, pytest.raises(DeviceError, match=r"offer TLS that can be verified.*https://127"):
        get(Client(RemoteModel(f"https://127.0.0.1:{server.port}/v2/models/m")))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_opens_connections_of_its_own():
    with raw_server(OK) as server:
        client = client_of(server)
        get(client)
        child = os.fork()
        if child == 0:
            os._exit(0 if get(client) == b"{}" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert get(client) == b"{}"
        assert server.connections == 2


def test_closing_ends_the_connections():
    with raw_server(OK) as server:
        client = client_of(server)
        get(client)
        client.close()
        get(client)  # still possible, on a connection that is not kept
        get(client)
        assert server.connections == 3
