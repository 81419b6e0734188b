"""Clients that lie about lengths, send slowly, stop in the middle, or send noise: no traceback, no 500, flat memory."""

import base64
import json
import os
import random
import re
import socket
import sys
import time
import zlib

import cv2
import numpy as np
import pytest
from helpers.http_server import form, http_server

pytestmark = pytest.mark.slow
FUZZED = int(os.environ.get("HRNET_DEPLOY_FUZZED_REQUESTS", "150"))
SEED = 20261129
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
PREDICT = b"POST /models/photos/predict HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def strict(photos_onnx, tmp_path_factory):
    """A server with short times and few connections."""
    words = (f"photos={photos_onnx}", "--read-timeout", 1, "--max-connections", 12, "--max-body", 2, "--streams", 1)
    with http_server(tmp_path_factory.mktemp("strict"), *words) as server:
        server.post("/predict", b"x")
        before = server.rss_bytes
        yield server
        assert server.rss_bytes - before < 400 << 20
    assert "Traceback" not in server.log
    assert not CONTROL.search(server.log)


def status_of(response):
    return int(response.split(b" ", 2)[1]) if response.startswith(b"HTTP/1.1 ") else None


def sentence_of(response):
    return json.loads(response.partition(b"\r\n\r\n")[2])["error"]


def test_ten_gigabytes_are_refused_by_their_header(strict):
    began = time.perf_counter()
    response = strict.raw(PREDICT + b"Content-Length: 10000000000\r\n\r\n" + b"x" * 1000)
    assert status_of(response) == 413
    assert "at most 2,000,000 bytes, got 10,000,000,000" in sentence_of(response)
    assert b"connection: close" in response.lower()
    assert time.perf_counter() - began < 10


def test_a_body_without_a_length_is_refused_at_the_limit(strict):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    response = strict.raw(PREDICT + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 40, b"0\r\n\r\n")
    assert status_of(response) == 413


def test_a_client_that_expects_a_hundred_is_refused_before_it_sends(strict):
    response = strict.raw(PREDICT + b"Content-Length: 9000000\r\nExpect: 100-continue\r\n\r\n")
    assert status_of(response) == 413


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (PREDICT + b"Content-Length: -1\r\n\r\n", 400),
        (PREDICT + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nxxxxx", 400),
        (PREDICT + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n", 400),
        (PREDICT + b"Transfer-Encoding: gzip\r\n\r\n", None),
        (PREDICT + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 415),
        (b"POST / HTTP/9.9\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a" * 200_000 + b"\r\n\r\n", None),
    ],
)
def test_wrong_heads_are_refused(strict, head, status):
    found = status_of(strict.raw(head))
    assert found == status if status else found is None or 400 <= found < 500 or found == 501


@pytest.mark.parametrize("part", [b"", b"POST /pre", PREDICT])
def test_a_slow_head_ends_its_connection(strict, part):
    began = time.perf_counter()
    response = strict.raw(part)
    assert status_of(response) == 408
    assert 0.5 < time.perf_counter() - began < 15


def test_a_slow_second_head_ends_its_connection(strict):
    first = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    response = strict.raw(first, b"GET /v2", wait_s=0.3)
    assert response.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in response


def test_a_slow_body_ends_its_request(strict):
    response = strict.raw(PREDICT + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 8, wait_s=0.3)
    assert status_of(response) == 408


def posted(path, kind, body, *headers):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode("utf-8", "surrogatepass") + body


def in_form(*parts, end=b"--b--\r\n"):
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end
    return posted("/predict", "multipart/form-data; boundary=b", body)


NAMED = b'Content-Disposition: form-data; name="image"; filename="x"\r\n'
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
INFER = "/v2/models/photos/infer"
CLOSE = b"Connection: close\r\n"
CHUNKED = PREDICT + b"Transfer-Encoding: chunked\r\n"
TENSOR = {"name": "input", "datatype": "FP32", "shape": [1, 3, 64, 64]}


def tensor(size=None, data=b"", **changes):
    entry = TENSOR | changes | ({} if size is None else {"parameters": {"binary_data_size": size}})
    text = json.dumps({"inputs": [entry]}).encode()
    return posted(INFER, "application/octet-stream", text + data, f"Inference-Header-Content-Length: {len(text)}")


FAMILIES = {
    "form: a long boundary": posted("/predict", "multipart/form-data; boundary=" + "b" * 9000, b"x"),
    "form: many headers": in_form(b"X: y\r\n" * 500 + NAMED + b"\r\nx"),
    "form: a large header": in_form(b"X: " + b"y" * 500_000 + b"\r\n" + NAMED + b"\r\nx"),
    "form: many parts": in_form(*[NAMED + b"\r\nx"] * 2000),
    "form: no disposition": in_form(b"\r\nx"),
    "form: no end": in_form(NAMED + b"\r\nx", end=b""),
    "form: starts of boundaries": posted("/predict", "multipart/form-data; boundary=b", b"\r\n--" * 400_000),
    "form: dashes": in_form(NAMED + b"\r\n" + b"-" * 1_900_000),
    "form: options": in_form(b"Content-Disposition: form-data" + b"; a=b" * 700 + b"\r\n\r\nx"),
    "form: quotes": in_form(b'Content-Disposition: form-data; name="' + b'\\"' * 1500 + b"\r\n\r\nx"),
    "form: a path": in_form(b'Content-Disposition: form-data; name="image"; filename="../../etc/\x1b[2J"\r\n\r\nx'),
    "form: a form inside": in_form(NAMED + b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--"),
    "head: two hosts": GET + b"Host: evil.example\r\n\r\n",
    "head: no host": b"GET / HTTP/1.1\r\n\r\n",
    "head: a host with control characters": b"GET / HTTP/1.1\r\nHost: \x1b[2J\r\n" + CLOSE + b"\r\n",
    "head: a folded line": GET + b"X: a\r\n b\r\nConnection: close\r\n\r\n",
    "head: a blank before the colon": GET + b"X : a\r\n\r\n",
    "head: a null": GET + b"X: a\0b\r\n\r\n",
    "head: a bare line feed": GET + b"X: a\nY: b\nConnection: close\r\n\r\n",
    "head: many lines": GET + CLOSE + b"X: y\r\n" * 3000 + b"\r\n",
    "head: length and chunks": CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + GET + CLOSE + b"\r\n",
    "head: chunks twice": PREDICT + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "head: chunks by another name": PREDICT + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "head: a signed length": PREDICT + b"Content-Length: +5\r\n\r\nabcde",
    "head: a length in other digits": PREDICT + b"Content-Length: \xd9\xa1\r\n\r\nx",
    "head: two tokens": GET + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\nConnection: close\r\n\r\n",
    "chunk: a huge size": CHUNKED + b"\r\nFFFFFFFFFFFFFFFFFFFF\r\nx",
    "chunk: two gigabytes": CHUNKED + b"\r\n80000000\r\nx",
    "chunk: a negative size": CHUNKED + b"\r\n-1\r\nx",
    "chunk: a large extension": CHUNKED + CLOSE + b"\r\n1;" + b"a" * 100_000 + b"\r\nx\r\n0\r\n\r\n",
    "chunk: trailers": CHUNKED + CLOSE + b"\r\n1\r\nx\r\n0\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "upgrade: websocket": GET
    + b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "upgrade: h2c": GET + b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
    "upgrade: HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "path: out of the folder": posted("/models/..%2f..%2fetc%2fpasswd/predict", "image/png", b"x"),
    "path: a null": posted("/models/a%00b/predict", "image/png", b"x"),
    "path: a line": posted("/models/a%0d%0aSet-Cookie:%20a=b%1b%5b2J/predict", "image/png", b"x"),
    "path: overlong UTF-8": posted("/models/%c0%ae%c0%ae/predict", "image/png", b"x"),
    "path: other bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "path: long": posted("/models/" + "a" * 15_000 + "/predict", "image/png", b"x"),
    "path: a whole URL": b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "path: a host": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n" + CLOSE + b"\r\n",
    "path: a star": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "query: many parameters": posted("/predict?" + "a=b&" * 3000, "image/png", b"x"),
    "query: surrogates": posted("/predict?topk=%ed%a0%80", "image/png", b"x"),
    "json: deep": posted("/predict", "application/json", b"[" * 1_000_000),
    "json: an integer": posted("/predict", "application/json", b'{"image": ' + b"9" * 1_000_000 + b"}"),
    "json: a surrogate": posted("/predict", "application/json", b'{"image\\ud800": 1}'),
    "json: many values": posted("/predict", "application/json", b'{"images": [' + b"[]," * 600_000 + b"1]}"),
    "json: members": posted("/predict", "application/json", b'{"image": "aGk=", "image": "aGk=", "x": 1}'),
    "json: UTF-16": posted("/predict", "application/json", '{"image": "aGk="}'.encode("utf-16")),
    "json: a URL as image": posted("/predict", "application/json", b'{"image": "http://127.0.0.1:1/x.png"}'),
    "json: a path as image": posted("/predict", "application/json", b'{"image": "/etc/passwd"}'),
    "v2: deep": posted(INFER, "application/json", b'{"inputs": ' + b"[" * 1_000_000),
    "v2: many values": posted(INFER, "application/json", b'{"inputs": [' + b"[]," * 600_000 + b"1]}"),
    "v2: wide texts": tensor(data=b"", shape=[20_001], datatype="BYTES"),
    "v2: texts as numbers": posted(
        INFER, "application/json", json.dumps({"inputs": [TENSOR | {"data": ["x" * 500_000, *[""] * 12_287]}]}).encode()
    ),
    "v2: a huge shape": tensor(0, shape=[0, 1 << 61, 1 << 61]),
    "v2: a negative shape": tensor(4, b"abcd", shape=[-1, -1]),
    "v2: more than there is": tensor(1 << 40, b"abcd"),
    "v2: less than there is": tensor(0, b"abcd"),
    "v2: a size of minus one": tensor(-1, b"abcd"),
    "v2: texts": tensor(400_000, bytes(400_000), datatype="BYTES", shape=[100_000]),
    "v2: a type that is a list": tensor(4, b"abcd", datatype=["FP32"]),
    "v2: a surrogate": posted(INFER, "application/json", b'{"id": "\\ud800", "inputs": []}'),
    "v2: many tensors": posted(INFER, "application/json", json.dumps({"inputs": [TENSOR] * 20_000}).encode()),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_hostile_requests_are_refused(strict, name):
    began = time.perf_counter()
    response = strict.raw(FAMILIES[name])
    statuses = [int(one) for one in re.findall(rb"HTTP/1\.1 (\d+)", response)]
    assert all(status < 500 or status == 501 for status in statuses), response[:500]
    assert statuses or not response
    assert time.perf_counter() - began < 10
    head = response.partition(b"\r\n\r\n")[0]
    assert b"set-cookie" not in head.lower()
    assert strict.get_json("/v2/health/live") == {"live": True}


@pytest.mark.parametrize("sent", [PREDICT, PREDICT + b"Content-Length: 100\r\n\r\nabc", GET + b"\r\n"])
def test_a_half_closed_connection_ends(strict, sent):
    with socket.create_connection(("127.0.0.1", strict.port), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass


def test_pipelined_requests_have_their_responses_in_order(strict):
    paths = [b"/v2", b"/v2/health/live", b"/nothing"] * 300
    sent = b"".join(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths)
    response = strict.raw(sent + GET + b"Connection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1\.1 (\d+)", response) == [b"200", b"200", b"404"] * 300 + [b"200"]


def test_bombs_inside_forms_and_json_are_refused(strict):
    files = [("images", f"{index}.png", content) for index, content in enumerate(bombs())]
    for body, kind in (
        form(*files),
        (json.dumps({"images": [base64.b64encode(one[2]).decode() for one in files]}).encode(), "application/json"),
    ):
        status, records = strict.post("/predict", body, kind)
        assert status == 200
        flags = ["error" in record for record in records]
        assert (flags[1], flags[3]) == (True, True)  # the first is large, and the third may be read up to its size


def test_one_connection_too_many_is_refused_and_the_others_are_kept(strict):
    idle = [socket.create_connection(("127.0.0.1", strict.port)) for _ in range(12)]
    try:
        time.sleep(0.2)
        response = strict.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status_of(response) == 503
        assert b"Retry-After: 1" in response
        idle[0].sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle[0].recv(1000).startswith(b"HTTP/1.1 200")
    finally:
        for connection in idle:
            connection.close()


def test_clients_that_leave_do_no_harm(strict, jpegs):
    whole = PREDICT + f"Content-Length: {len(jpegs[0])}\r\n\r\n".encode() + jpegs[0]
    for end in (len(PREDICT), len(PREDICT) + 30, len(whole) - 10, len(whole)):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", strict.port)) as connection:
                connection.sendall(whole[:end])
    deadline = time.monotonic() + 20
    while 'hrnet_images_in_use{model="photos"} 0' not in strict.request("GET", "/metrics")[2].decode():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert strict.post("/predict", jpegs[0])[0] == 200


def bombs():
    """Small files that name or hold many pixels, and one that is cut."""
    flat = cv2.imencode(".png", np.zeros((7000, 7000), np.uint8))[1].tobytes()
    lying = bytearray(flat)
    lying[16:24] = (60_000).to_bytes(4, "big") * 2
    short = bytearray(cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes())
    data = zlib.compress(b"\0" * 50_000_000)
    chunk = len(data).to_bytes(4, "big") + b"IDAT" + data + zlib.crc32(b"IDAT" + data).to_bytes(4, "big")
    return [flat, bytes(lying), bytes(short[:33]) + chunk + bytes(short[-12:]), bytes(short[:60])]


def test_decompression_bombs_take_no_memory(strict, jpegs):
    for _ in range(20):
        strict.post("/predict", jpegs[0])
    before = strict.rss_bytes
    for content in bombs() * 3:
        status, record = strict.post("/predict", content, "image/png")
        assert status in {200, 400, 413}, record
    assert strict.rss_bytes - before < 250 << 20  # one image of 49 million pixels is 147 MB
    assert strict.post("/predict", jpegs[0])[0] == 200


TRICKS = [
    "Expect: 100-continue",
    "Upgrade: websocket\r\nConnection: upgrade",
    "Transfer-Encoding: chunked",
    "Content-Length: 5",
    "Host: evil.example",
    "X: a\r\n b",
    "X : a",
    "X: \x00\x1b[2J",
    "User-Agent: \x1b]0;title\x07\u202e",
    "Content-Encoding: gzip",
    "Authorization: Bearer \x85",
    "Accept: " + "image/png," * 500,
]


class Noise:
    """Random requests: valid ones with something changed."""

    def __init__(self, seed, jpegs):
        self.random, self.jpegs = random.Random(seed), jpegs  # noqa: S311 - repeatable noise

    def request(self):
        choose = self.random.choice
        path = choose(
            ["/predict", "/models/photos/predict", "/v2/models/photos/infer", "/", "/metrics", "/openapi.json"]
        )
        path = choose([path, path, path, path + self.text(), "/v2/models/" + self.text(), "/" + self.text()])
        path = choose(
            [path] * 9 + ["/models/" + choose(["..%2f..%2f", "%00", "%0d%0aX:y", "%c0%ae", "%1b%5b2J"]) + "/predict"]
        )
        method = choose(["POST"] * 6 + ["GET", "PUT", "HEAD", "OPTIONS", "TRACE", self.text()])
        content_type, body = choose([self.raw, self.form, self.json, self.tensors])()
        body = self.mutated(body)
        length = choose([len(body)] * 8 + [len(body) + 9, max(0, len(body) - 9), self.random.randrange(1 << 40)])
        headers = [f"Host: {choose(['localhost'] * 9 + [self.text()])}", f"Content-Type: {content_type}"]
        headers += choose([[], [], ["Accept: " + choose(["image/png", "image/jpeg", "*/*;q=x", self.text()])]])
        headers += choose([[], [f"Inference-Header-Content-Length: {choose([len(body), 80, -1, self.text()])}"]])
        headers += choose([[], [], [], [], [choose(TRICKS)]])
        chunks = choose([False] * 5 + [True])
        if chunks:
            body = b"".join(self.chunk(body[at : at + 9000]) for at in range(0, len(body), 9000)) + choose(
                [b"0\r\n\r\n", b"0\r\n"]
            )
        headers += ["Transfer-Encoding: chunked"] if chunks else choose([[f"Content-Length: {length}"]] * 6 + [[]])
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *headers, "Connection: close", "", ""])
        return self.mutated(head.encode("utf-8", "replace"), 0.05) + body

    def chunk(self, content):
        """A chunk, whose size is sometimes another one."""
        size = self.random.choice([len(content)] * 30 + [len(content) + 1, -1, 1 << 70])
        return f"{size:x}{self.random.choice(['', '', ';a=b'])}\r\n".encode() + content + b"\r\n"

    def text(self):
        letters = "ab%/?&=.\\ \"'{}[]:;é\x00\x7f0129-_"
        return "".join(self.random.choice(letters) for _ in range(self.random.randrange(1, 24)))

    def raw(self):
        return "image/jpeg", self.random.choice(self.jpegs)

    def form(self):
        fields = ["image", "images", self.text().replace("\x00", "")]
        files = [(self.random.choice(fields), self.text(), self.random.choice(self.jpegs)) for _ in range(3)]
        body, content_type = form(*files[: self.random.randrange(1, 4)])
        return self.random.choice([content_type, "multipart/form-data", "multipart/form-data; boundary="]), body

    def json(self):
        values = [None, 1, -1e400, "x", "aGk=", [], {}, [[]], {"image": 1}, self.text(), "http://localhost/", True]
        names = ["image", "images", "inputs", self.text()]
        message = {self.random.choice(names): self.random.choice(values) for _ in range(2)}
        return "application/json", json.dumps(message).encode()

    def tensors(self):
        values = [None, 1, "FP32", "INT8", "input", [1, 3, 64, 64], [1 << 62] * 4, [-1], [], {}, "x", [0.5] * 9, 49152]
        entry = {name: self.random.choice(values) for name in ("name", "datatype", "shape", "data")}
        entry |= self.random.choice([{}, {"name": "input", "datatype": "FP32", "shape": [1, 3, 64, 64]}])
        entry["parameters"] = {"binary_data_size": self.random.choice(values)}
        message = {"inputs": [entry], "id": self.random.choice(values), "outputs": self.random.choice(values)}
        return "application/octet-stream", json.dumps(message).encode() + b"\0" * self.random.choice([0, 9, 49152])

    def mutated(self, content, share=0.5):
        content = bytearray(content)
        if content and self.random.random() < share:
            for _ in range(self.random.randrange(1, 6)):
                content[self.random.randrange(len(content))] = self.random.randrange(256)
            if self.random.random() < 0.3:
                del content[self.random.randrange(len(content)) :]
        return bytes(content)


def test_fuzzed_requests_are_refused_without_a_traceback(photos_onnx, tmp_path, jpegs):
    noise = Noise(SEED, jpegs)
    with http_server(tmp_path, f"photos={photos_onnx}", "--read-timeout", 0.3, "--max-body", 2, "--verbose") as server:
        seen = {}
        sizes = []
        for index in range(FUZZED):
            for one in re.findall(rb"HTTP/1\.1 (\d+)", server.raw(noise.request())):
                seen[one] = seen.get(one, 0) + 1
            if index == FUZZED // 3 or index == FUZZED - 1:
                sizes.append(server.rss_bytes)
        assert b"500" not in seen, server.log
        assert seen[b"200"] > FUZZED / 100, seen
        assert seen[b"400"] > FUZZED / 10, seen
        sys.stdout.write(f"{seen}\n")
        assert sizes[1] < 1.05 * sizes[0] + (8 << 20), sizes
        assert server.post("/predict", jpegs[0])[0] == 200
        assert server.stop() == 0
    assert "Traceback" not in server.log, server.log
    assert not CONTROL.search(server.log)
