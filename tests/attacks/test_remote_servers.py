"""Hostile servers of models: each lie ends a client in one line, in bounded time and memory."""

import json
import re
import threading
import time
import tracemalloc

import numpy as np
import pytest
from helpers.raw_server import forever, once, raw_server
from helpers.v2_server import Scorer, serving, toy_card

from hrnet_deploy.artifact.card import CARD_KEY
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.engines.remote import engine as engine_module
from hrnet_deploy.engines.remote.client import Client
from hrnet_deploy.engines.remote.remote_model import RemoteModel, Token
from hrnet_deploy.errors import HrnetDeployError, UsageError
from hrnet_deploy.v2_tensors import HEADER_LENGTH

CARD = toy_card()
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e]")
PIECE = bytes(1 << 16)
IMAGES = np.zeros((2, 3, 8, 8), np.float32)
LIMIT = 64 << 10
"""Limit of a response in these tests."""


def one_line_of(call, seconds=5.0, megabytes=60):
    began = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(HrnetDeployError) as caught:
            call()
        assert tracemalloc.get_traced_memory()[1] < megabytes << 20
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < seconds
    message = str(caught.value)
    assert not CONTROL.search(message), message
    assert len(message) < 1500
    return message


HOSTILE = {
    "endless body": (forever(OK + b"\r\n", PIECE), "at most"),
    "endless chunks": (forever(CHUNKED, b"10000\r\n" + PIECE + b"\r\n"), "at most"),
    "a negative chunk": (forever(CHUNKED + b"-1\r\n", PIECE), "at most"),
    "a chunk of a petabyte": (forever(CHUNKED + b"4000000000000\r\n", PIECE), "at most"),
    "endless chunk size": (forever(CHUNKED, b"0", 0.01), "must respond within"),
    "endless trailers": (forever(CHUNKED + b"0\r\n", b"X: y\r\n", 0.001), "must respond within"),
    "endless hundreds": (forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001), "must respond within"),
    "a negative chunk in an error": (
        forever(b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", PIECE),
        "HTTP 500",
    ),
    "an endless error": (forever(b"HTTP/1.1 400 x\r\n\r\n", PIECE), "HTTP 400"),
    "two codings": (once(OK + b"Transfer-Encoding: gzip, chunked\r\nContent-Length: 2\r\n\r\n{}"), "must be chunked"),
    "a coding with a blank": (
        once(OK + b"Transfer-Encoding: chunked \t\r\nContent-Length: 2\r\n\r\n{}"),
        "must be chunked",
    ),
    "a header of megabytes": (once(OK + b"X: " + b"y" * 3_000_000 + b"\r\n\r\n"), "broken connection"),
    "thousands of headers": (once(OK + b"X: y\r\n" * 5000 + b"\r\n"), "broken connection"),
    "a switched protocol": (once(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n"), "HTTP 101"),
    "a hostile reason": (once(b"HTTP/1.1 418 \x1b[31m\x07\xe2\x80\xae\r\nContent-Length: 0\r\n\r\n"), "HTTP 418"),
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_response_is_one_line(name, method):
    script, reason = HOSTILE[name]
    with raw_server(script) as server:
        client = Client(RemoteModel(f"http://127.0.0.1:{server.port}/v2/models/m", timeout_s=1))
        if method == "GET":
            message = one_line_of(lambda: client.get("/v2", LIMIT), megabytes=3)
        else:
            message = one_line_of(lambda: client.post("/v2/m/infer", {}, [b"x"], lambda _: LIMIT), megabytes=3)
    assert reason in message


def test_a_second_response_is_not_taken_for_the_next_request():
    forged = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"no":1}'

    def script(server, connection, _):
        while server.receive(connection):
            connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}" + forged * 3000)

    with raw_server(script) as server:
        client = Client(RemoteModel(f"http://127.0.0.1:{server.port}/v2/models/m"))
        assert [bytes(client.get("/v2", LIMIT).body) for _ in range(3)] == [b"{}"] * 3
        assert server.connections == 3
        client.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_token_goes_to_no_other_server(status):
    with raw_server(once(OK + b"Content-Length: 2\r\n\r\n{}")) as other:
        head = f"HTTP/1.1 {status} x\r\nLocation: http://127.0.0.1:{other.port}/v2\r\nContent-Length: 0\r\n\r\n"
        with raw_server(once(head.encode())) as server:
            served = RemoteModel(f"http://127.0.0.1:{server.port}/v2/models/m", token=Token("secret"))
            message = one_line_of(lambda: open_engine(served))
        assert "which is not followed" in message
        assert "secret" not in message
        assert other.connections == 0


@pytest.fixture
def v2():
    with serving(Scorer(CARD), CARD) as server:
        yield server


def replying(content, headers=()):
    def reply(handler):
        handler.read_body()
        handler.reply(200, content, headers)

    return reply


TENSOR = {"name": "input", "datatype": "FP32", "shape": [-1, 3, 8, 8]}
METADATA = [
    b"[" * 1_000_000,
    b'{"a":' * 300_000,
    b'{"inputs": ' + b"9" * 5_000_000 + b"}",
    b'{"inputs": [' + b"[]," * 5_000_000 + b"0]}",
    b'{"inputs": "\\ud800"}',
    b"\xff\xfe{}",
    b'{"a": "\x1b[2J"}',
    json.dumps({"inputs": [TENSOR | {"shape": [10**18]}], "outputs": []}).encode(),
    json.dumps({"inputs": [TENSOR | {"shape": ["9" * 5000]}], "outputs": [TENSOR]}).encode(),
    json.dumps({"inputs": [TENSOR | {"shape": [-2]}], "outputs": [TENSOR]}).encode(),
    json.dumps({"inputs": [TENSOR | {"shape": [1] * 1000}], "outputs": [TENSOR]}).encode(),
    json.dumps({"inputs": [TENSOR | {"datatype": ["FP32"]}], "outputs": [TENSOR]}).encode(),
    json.dumps({"inputs": [TENSOR | {"name": "\x1b[31m\u202e\n"}], "outputs": [TENSOR]}).encode(),
    json.dumps({"inputs": [TENSOR] * 10_000, "outputs": [TENSOR]}).encode(),
    json.dumps({"inputs": [None], "outputs": {"a": 1}}).encode(),
]


@pytest.mark.parametrize("content", METADATA, ids=range(len(METADATA)))
def test_hostile_metadata_is_one_line(v2, content):
    v2.replies["/v2/models/m"] = replying(content)
    one_line_of(lambda: open_engine(v2.url), megabytes=150)


CONFIGS = [
    {"hrnet_deploy.card": "[" * 1_000_000},
    {"hrnet_deploy.card": "{}"},
    {"hrnet_deploy.card": "\x1b[2J"},
    {"hrnet_deploy.card": '{"schema": ' + "9" * 100_000 + "}"},
    {"hrnet_deploy.card": "null"},
]


@pytest.mark.parametrize("parameters", CONFIGS, ids=range(len(CONFIGS)))
def test_a_hostile_card_is_one_line(v2, parameters):
    v2.parameters = {key.replace("hrnet_deploy.card", CARD_KEY): text for key, text in parameters.items()}
    one_line_of(lambda: open_engine(v2.url), megabytes=150)


def output(**changes):
    entry = {"name": "logits", "datatype": "FP32", "shape": [2, 4], "parameters": {"binary_data_size": 32}}
    return {"outputs": [entry | changes]}


def sized(size, **changes):
    return output(parameters={"binary_data_size": size}, **changes)


OUTPUTS = [
    (output(shape=[2, 1 << 40]), bytes(32)),
    (output(shape=[-2, -4]), bytes(32)),
    (output(shape=[4, 2]), bytes(32)),
    (output(shape=[8]), bytes(32)),
    (output(shape=[0, 1 << 61, 1 << 61]), bytes(32)),
    (output(shape=[1] * 40), bytes(32)),
    (output(datatype="FP64"), bytes(32)),
    (output(datatype="INT32"), bytes(32)),
    (output(datatype="BYTES"), bytes(32)),
    (output(datatype={"a": 1}), bytes(32)),
    (sized(1 << 62), bytes(32)),
    (sized(-32), bytes(32)),
    (sized(31), bytes(32)),
    (sized(0), b""),
    (sized("32"), bytes(32)),
    (output(), bytes(31)),
    (output(), bytes(33)),
    (output(name="\x1b[2J\u202e"), bytes(32)),
    ({"outputs": []}, b""),
    ({"outputs": {"logits": 1}}, b""),
    ({"outputs": output()["outputs"] * 2}, bytes(64)),
    ({"id": "another\x1b[2J", **output()}, bytes(32)),
    ({"id": [1], **output()}, bytes(32)),
    (output(parameters={}, data=["x" * 30_000, *[""] * 7]), b""),
    (output(parameters={}, data=[[[1.0]]]), b""),
    (output(parameters={}, data=[None] * 8), b""),
    (output(parameters={}, data=[{"a": 1}] * 8), b""),
    (output(parameters={}, data=[True] * 8), b""),
]


@pytest.mark.parametrize(("message", "content"), OUTPUTS, ids=range(len(OUTPUTS)))
def test_outputs_that_lie_are_one_line(v2, message, content):
    engine = open_engine(v2.url)
    head = json.dumps(message).encode()
    headers = {HEADER_LENGTH: str(len(head))} if content else {}
    v2.replies["/v2/models/m/infer"] = replying(head + content, headers)
    one_line_of(lambda: engine.run({"input": IMAGES}))


@pytest.mark.parametrize("length", ["-1", "0", "99999999", "1" + "0" * 25, "0x10", "\u0661", "2, 2"])
def test_a_header_length_that_lies_is_one_line(v2, length):
    engine = open_engine(v2.url)

    def reply(handler):
        handler.read_body()
        handler.wfile.write(OK + f"{HEADER_LENGTH}: {length}\r\nContent-Length: 40\r\n\r\n".encode() + bytes(40))

    v2.replies["/v2/models/m/infer"] = reply
    one_line_of(lambda: engine.run({"input": IMAGES}))


def test_a_json_bomb_as_output_is_one_line(v2):
    engine = open_engine(v2.url)
    v2.replies["/v2/models/m/infer"] = replying(b'{"outputs": [' + b"[]," * 20_000_000 + b"0]}")
    assert "at most" in one_line_of(lambda: engine.run({"input": IMAGES}))


def test_outputs_larger_than_the_limit_are_not_requested(v2, monkeypatch):
    engine = open_engine(v2.url)
    monkeypatch.setattr(engine_module, "RESPONSE_BYTES", 31)
    before = len(v2.requests)
    with pytest.raises(UsageError, match="at most 31 bytes, got 32"):
        engine.run({"input": IMAGES})
    assert len(v2.requests) == before


def test_many_threads_meet_a_hostile_server_in_bounded_time():
    with raw_server(forever(CHUNKED, b"0", 0.01)) as server:
        client = Client(RemoteModel(f"http://127.0.0.1:{server.port}/v2/models/m", timeout_s=0.5))
        failures = []

        def ask():
            try:
                client.get("/v2", LIMIT)
            except HrnetDeployError as error:
                failures.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 5
        assert len(failures) == 16
