"""An engine over V2: equal to the engine behind the server, and one line for each lie of a server."""

import json
import shutil
import ssl
import subprocess
import threading
import time

import numpy as np
import pytest
from helpers.v2_server import Scorer, serving, toy_card
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.engines.remote.remote_model import RemoteModel, Token
from hrnet_deploy.errors import ArtifactError, DeviceError, HrnetDeployError, UsageError
from hrnet_deploy.spec import ShapeRange, TensorSpec
from hrnet_deploy.v2_tensors import HEADER_LENGTH

CARD = toy_card()
INFER = "/v2/models/m/infer"


@pytest.fixture
def v2():
    with serving(Scorer(CARD), CARD) as server:
        yield server


def images(count=2, seed=0):
    return np.random.default_rng(seed).random((count, 3, 8, 8), np.float32)


def in_json(handler, value, status=200):
    handler.read_body()
    handler.reply(status, value if isinstance(value, bytes) else json.dumps(value).encode())


def test_outputs_equal_those_of_the_engine_behind_the_server(v2):
    engine = open_engine(v2.url)
    (wanted,) = Scorer(CARD).run({"input": images()}).values()
    (found,) = engine.run({"input": images()}).values()
    assert found.tobytes() == wanted.tobytes()
    assert (found.dtype, found.flags.aligned, found.flags.writeable) == (np.float32, True, True)
    assert (engine.inputs, engine.outputs) == (CARD.inputs, CARD.outputs)
    assert engine.metadata == v2.parameters
    assert (engine.device, engine.streams) == (v2.url.removesuffix("/v2/models/m"), 1)
    engine.close()
    with pytest.raises(DeviceError, match="got a closed engine"):
        engine.run({"input": images()})


def test_runtime_and_arithmetic_are_the_servers(v2):
    assert (open_engine(v2.url).backend, open_engine(v2.url).arithmetic) == ("onnxruntime", "")
    v2.parameters |= {"hrnet_deploy.backend": "open\x1bvino", "hrnet_deploy.arithmetic": "bfloat16"}
    engine = open_engine(v2.url, backend="v2", streams=None)
    assert (engine.backend, engine.arithmetic, engine.streams) == ("open\\x1bvino", "bfloat16", 4)


def test_tensors_are_binary_and_the_request_names_the_outputs(v2):
    open_engine(v2.url).run({"input": images()})
    method, path, headers = v2.requests[-1]
    assert (method, path, headers["Content-Type"]) == ("POST", INFER, "application/octet-stream")
    assert int(headers["Content-Length"]) == int(headers[HEADER_LENGTH]) + images().nbytes


def test_a_version_is_part_of_every_path(v2):
    with pytest.raises(ArtifactError, match="must have a model card"):
        open_engine(f"{v2.url}/versions/1")
    engine = open_engine(RemoteModel(f"{v2.url}/versions/1", card=CARD))
    engine.run({"input": images()})
    assert v2.requests[-1][1] == "/v2/models/m/versions/1/infer"
    with pytest.raises(ArtifactError, match=r"HTTP 404 \(unknown: /v2/models/m/versions/9\)"):
        open_engine(f"{v2.url}/versions/9")
    v2.replies["/v2/models/m/versions/9"] = lambda handler: handler.reply(200, json.dumps(v2.metadata()).encode())
    with pytest.raises(ArtifactError, match=r"version of .* must be one the server has, 1, got 9"):
        open_engine(f"{v2.url}/versions/9")


@pytest.mark.parametrize("binary", [True, False])
def test_a_server_without_binary_tensors_gets_and_sends_json(v2, binary):
    v2.extensions, v2.binary_output = [], binary
    (wanted,) = Scorer(CARD).run({"input": images()}).values()
    (found,) = open_engine(v2.url).run({"input": images()}).values()
    assert np.array_equal(found, wanted)
    assert HEADER_LENGTH not in v2.requests[-1][2]


def test_a_server_that_sends_json_for_binary_tensors(v2):
    v2.binary_output = False
    (wanted,) = Scorer(CARD).run({"input": images()}).values()
    assert np.array_equal(open_engine(v2.url).run({"input": images()})["logits"], wanted)


def test_a_server_without_metadata_of_its_own_or_configuration(v2):
    for path in ("/v2", "/v2/models/m/config"):
        v2.replies[path] = lambda handler: handler.error(404, "no such thing")
    engine = open_engine(RemoteModel(v2.url, card=CARD))
    assert engine.metadata == {}
    assert engine.run({"input": images()})["logits"].shape == (2, 4)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"device": "cuda:0"}, "device of .* must be 'auto', because the server has its own, got 'cuda:0'"),
        ({"device": "cpu"}, "got 'cpu'"),
        ({"backend": "openvino"}, "backend of .* must be one of auto, v2.*got 'openvino'"),
        ({"threads": 2}, "threads must not be given"),
        ({"in_order": True}, "in_order must not be given"),
        ({"streams": 0}, "streams must be 1 to 256"),
    ],
)
def test_what_the_server_decides_is_refused(options, reason):
    with pytest.raises(UsageError, match=reason):
        open_engine("http://127.0.0.1:9/v2/models/m", **options)


@pytest.mark.parametrize(
    ("feed", "reason"),
    [
        ({}, "input 'input' must be given"),
        ({"x": images(), "input": images()}, "got 'x'"),
        ({"input": images().tolist()}, "must be a NumPy array, got list"),
        ({"input": images().astype(np.float64)}, "must be float32"),
        ({"input": images().astype(">f4")}, "must be float32"),
        ({"input": images()[:, :2]}, "must be float32"),
    ],
)
def test_a_wrong_feed_is_refused_here(v2, feed, reason):
    engine = open_engine(v2.url)
    with pytest.raises(UsageError, match=reason):
        engine.run(feed)
    assert v2.batches == []


def test_a_feed_may_be_a_view(v2):
    whole = images(4)
    found = open_engine(v2.url).run({"input": whole[::2, ::-1]})["logits"]
    assert np.array_equal(found, Scorer(CARD).run({"input": whole[::2, ::-1]})["logits"])


TENSOR = {"name": "logits", "datatype": "FP32", "shape": [2, 4], "data": [0.0] * 8}
RESPONSES = [
    (b"<html>", "must send outputs of the V2 protocol, got: message must be JSON"),
    (b"[]", "JSON object"),
    ({}, "list 'outputs'"),
    ({"outputs": []}, "must send output 'logits', got none"),
    ({"outputs": [TENSOR | {"name": "o\x1b"}]}, r"got o\\x1b"),
    ({"outputs": [TENSOR | {"shape": [1, 8]}]}, r"must be float32 \(2, 4\), got float32 \(1, 8\)"),
    ({"outputs": [TENSOR | {"shape": [8]}]}, r"got float32 \(8,\)"),
    ({"outputs": [TENSOR | {"datatype": "FP64"}]}, "got float64"),
    ({"outputs": [TENSOR | {"datatype": "FP128"}]}, "datatype of 'logits'"),
    ({"outputs": [TENSOR | {"data": ["NaN"] * 8}]}, "must hold float32 values"),
    ({"outputs": [TENSOR | {"data": [0.0] * 7}]}, "values"),
    ({"outputs": [TENSOR, TENSOR]}, "given once"),
    ({"outputs": [TENSOR | {"shape": [2, float("nan")]}]}, "list of sizes"),
    ({"id": [1], "outputs": [TENSOR]}, r"got a response to \[1\]"),
    ({"id": "another", "outputs": [TENSOR]}, "must respond to request 1, got a response to 'another'"),
]


@pytest.mark.parametrize(("response", "reason"), RESPONSES)
def test_other_outputs_than_described_are_one_line(v2, response, reason):
    engine = open_engine(v2.url)
    v2.replies[INFER] = lambda handler: in_json(handler, response)
    with pytest.raises(DeviceError, match=reason) as caught:
        engine.run({"input": images()})
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@given(
    head=st.binary(max_size=40) | st.sampled_from([b"Content-Length: 60", b"Transfer-Encoding: chunked", b"X: y"]),
    json_bytes=st.integers(0, 60),
    body=st.binary(max_size=60) | st.just(json.dumps({"outputs": [TENSOR]}).encode()),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_response_is_outputs_or_one_line(fuzzed, head, json_bytes, body):
    engine, content = fuzzed
    content[0] = b"HTTP/1.1 200 OK\r\n%s\r\n%s: %d\r\n\r\n%s" % (head, HEADER_LENGTH.encode(), json_bytes, body)
    try:
        found = engine.run({"input": images()})["logits"].shape
    except HrnetDeployError as error:
        found = "\n" in str(error)
    assert found in {(2, 4), False}


@pytest.fixture
def fuzzed(v2):
    """An engine whose inferences get the bytes in a list."""
    engine, content = open_engine(RemoteModel(v2.url, timeout_s=5)), [b""]

    def reply(handler):
        handler.read_body()
        handler.wfile.write(content[0])
        handler.close_connection = True

    v2.replies[INFER] = reply
    return engine, content


def test_outputs_that_nobody_requested_are_left_out(v2):
    engine = open_engine(v2.url)
    v2.replies[INFER] = lambda handler: in_json(handler, {"outputs": [TENSOR, TENSOR | {"name": "extra"}]})
    assert list(engine.run({"input": images()})) == ["logits"]


def test_a_response_larger_than_the_outputs_is_not_read(v2):
    engine = open_engine(v2.url)
    v2.infer = lambda _: {"logits": np.zeros((2, 4, 10_000), np.float32)}
    with pytest.raises(DeviceError, match=r"at most the 65,568 bytes of the outputs, got 320,\d+"):
        engine.run({"input": images()})


def test_open_sizes_are_those_of_the_input_or_limited_by_it():
    card = toy_card(
        task="segmentation",
        inputs=(TensorSpec("input", "float32", ("batch", 3, "height", "width")),),
        outputs=(TensorSpec("logits", "float32", ("batch", 4, "height", "w2")),),
        shapes=ShapeRange((1, 8, 8), (1, 8, 8), (16, 64, 64)),
    )
    engine = Scorer(card)
    with serving(engine, card) as v2:
        remote = open_engine(v2.url)
        for shape, fits in (
            ((2, 4, 8, 16), True),
            ((2, 4, 9, 16), False),
            ((2, 4, 8, 17), False),
            ((1, 4, 8, 8), False),
        ):
            v2.infer = lambda _, shape=shape: {"logits": np.zeros(shape, np.float32)}
            feed = {"input": np.zeros((2, 3, 8, 16), np.float32)}
            if fits:
                assert remote.run(feed)["logits"].shape == shape
            else:
                with pytest.raises(DeviceError, match=r"must be float32 \(2, 4, 8, up to 16\), got"):
                    remote.run(feed)


def test_outputs_in_another_order_than_the_cards():
    outputs = (TensorSpec("labels", "int64", ("batch", 2)), TensorSpec("scores", "float32", ("batch", 2)))
    card = toy_card(outputs=outputs, output_kind="topk")
    values = {"scores": np.float32([[0.75, 0.25]]), "labels": np.int64([[3, 1]])}
    with serving(Scorer(card), card) as v2:
        v2.infer = lambda _: values
        metadata = v2.metadata()
        metadata["outputs"].reverse()
        v2.replies["/v2/models/m"] = lambda handler: handler.reply(200, json.dumps(metadata).encode())
        engine = open_engine(v2.url)
        found = engine.run({"input": images(1)})
    assert [one.name for one in engine.outputs] == ["labels", "scores"]
    assert all(np.array_equal(found[name], values[name]) and found[name].flags.aligned for name in values)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"inputs": "x"}, r"other metadata \(no list of tensors\)"),
        ({"outputs": []}, "no list of tensors"),
        ({"outputs": [{"name": "logits", "datatype": "FP8", "shape": [-1, 4]}]}, "other metadata"),
        ({"outputs": [{"name": "logits", "datatype": "FP32", "shape": [-2, 4]}]}, "other metadata"),
        ({"outputs": [{"name": "logits", "datatype": "FP32", "shape": None}]}, "other metadata"),
        ({"outputs": [{"name": "logits", "datatype": "FP32", "shape": "14"}]}, "other metadata"),
        ({"outputs": [{"name": "logits", "datatype": "FP32", "shape": [1.5, "x"]}]}, "other metadata"),
        ({"outputs": [{"name": 3, "datatype": [], "shape": [-1, 4]}]}, "other metadata"),
        ({"outputs": [{"name": "logits", "datatype": "FP16", "shape": [-1, 4]}]}, "inputs and outputs of its card"),
        ({"outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 5]}]}, "inputs and outputs of its card"),
        ({"outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 4]}]}, "inputs and outputs of its card"),
        ({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1, 1]}]}, "numbers, got BYTES for 'image'"),
    ],
)
def test_other_metadata_than_the_cards_is_refused(v2, change, reason):
    v2.replies["/v2/models/m"] = lambda handler: handler.reply(200, json.dumps(v2.metadata() | change).encode())
    with pytest.raises(ArtifactError, match=reason):
        open_engine(v2.url)


def test_what_is_no_v2_server_is_refused(v2):
    for status, body in ((404, b"<html>no</html>"), (200, b"<html>hello</html>"), (200, b"[1]"), (200, b"")):
        v2.replies["/v2/models/m"] = lambda handler, status=status, body=body: handler.reply(
            status, body, {"Content-Type": "text/html"}
        )
        with pytest.raises(ArtifactError, match="must be a model of a V2 server, got"):
            open_engine(v2.url)
    v2.replies["/v2/models/m"] = lambda handler: handler.error(400, "Request for unknown model: 'm' is not found")
    with pytest.raises(ArtifactError, match=r"HTTP 400 \(Request for unknown model: 'm' is not found\)"):
        open_engine(v2.url)


@pytest.mark.parametrize(
    "ready",
    [lambda h: h.error(503, "loading"), lambda h: h.error(400, "no"), lambda h: h.reply(200, b'{"ready":false}')],
)
def test_a_model_that_is_not_ready(v2, ready):
    v2.replies["/v2/models/m/ready"] = ready
    with pytest.raises(DeviceError, match="must be ready, got: "):
        open_engine(v2.url)


def test_a_card_that_cannot_be_read_and_none(v2):
    v2.parameters["hrnet_deploy.card"] = "{"
    with pytest.raises(ArtifactError, match=v2.url):
        open_engine(v2.url)
    del v2.parameters["hrnet_deploy.card"]
    with pytest.raises(ArtifactError, match=r"must have a model card in its configuration.*--card FILE"):
        open_engine(v2.url)


def test_many_threads_get_their_own_outputs(v2):
    engine = open_engine(v2.url, streams=8)
    wrong = []

    def work(seed):
        for turn in range(10):
            feed = {"input": images(1, 100 * seed + turn)}
            if not np.array_equal(engine.run(feed)["logits"], Scorer(CARD).run(feed)["logits"]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert v2.connections <= 8


def test_a_slow_model_ends_at_the_timeout(v2):
    engine = open_engine(RemoteModel(v2.url, timeout_s=0.3))

    def slow(tensors):
        time.sleep(1)
        return Scorer(CARD).run(tensors)

    v2.infer = slow
    with pytest.raises(DeviceError, match=r"must respond within 0.3 s"):
        engine.run({"input": images()})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("not installed: openssl, which makes the certificate of the test")
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([openssl, *words.split(), "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


def test_https_is_verified_and_carries_the_token(certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(Scorer(CARD), CARD, context=context) as v2:
        served = RemoteModel(v2.url, Token("secret"))
        with pytest.raises(
            DeviceError, match=r"TLS that can be verified, got self-signed certificate from https://local"
        ):
            open_engine(served)
        assert v2.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        engine = open_engine(served)
        before = v2.connections
        for _ in range(3):
            assert engine.run({"input": images()})["logits"].shape == (2, 4)
        assert v2.connections == before
        assert {headers["Authorization"] for _, _, headers in v2.requests} == {"Bearer secret"}
        with pytest.raises(DeviceError, match=r"TLS that can be verified, got .*mismatch"):
            open_engine(v2.url.replace("localhost", "127.0.0.1"))
