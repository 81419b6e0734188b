"""examples/fastapi_route.py on a real uvicorn, in an environment that has FastAPI."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import socket
import subprocess
import time

import cv2
import numpy as np
import pytest
from helpers.example_program import EXAMPLES, WITHIN_S
from helpers.http_server import form
from helpers.peer_environment import ROOT, peer_python

from hrnet_deploy import Predictor

pytestmark = pytest.mark.slow

FASTAPI = "fastapi==0.165.0"
PACKAGES = ("uvicorn", "python-multipart", "numpy", "jinja2", "tqdm", "onnxruntime", "opencv-python-headless")
LIMIT = 10 << 20
ACCEPTED = 16


class Application:
    """The running example."""

    def __init__(self, port):
        self.port = port

    def post(self, body, content_type, query="", **headers):
        """(status, headers, parsed JSON) of a POST to the route."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=WITHIN_S)) as connection:
            connection.request("POST", f"/classify{query}", body, {"Content-Type": content_type, **headers})
            response = connection.getresponse()
            return response.status, response.headers, json.loads(response.read())

    def classify(self, content, query=""):
        return self.post(*form(("image", "photo.jpg", content)), query)


@pytest.fixture(scope="module")
def application(photos_onnx, tmp_path_factory):
    python = peer_python("fastapi", "-c", str(ROOT / "constraints.txt"), *PACKAGES, FASTAPI)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{EXAMPLES}",
        "HRNET_ARTIFACT": str(photos_onnx),
        "OMP_NUM_THREADS": "1",
    }
    log = tmp_path_factory.mktemp("fastapi") / "log.txt"
    with log.open("wb") as file:
        words = [python, "-m", "uvicorn", "fastapi_route:app", "--port", str(port)]
        process = subprocess.Popen(words, stdout=file, stderr=file, env=environment)
    try:
        end = time.monotonic() + WITHIN_S
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        assert process.poll() is None, log.read_text()
        yield Application(port)
    finally:
        process.terminate()
        process.wait(30)
    assert "Traceback" not in log.read_text()


def test_the_route_returns_what_the_predictor_does(application, photos_onnx, jpegs):
    with Predictor(photos_onnx, device="cpu") as predictor:
        for content in jpegs:
            status, _, found = application.classify(content, "?topk=3")
            expected = predictor.predict(content)
            assert (status, found["label"]) == (200, expected.label)
            assert found["score"] == pytest.approx(expected.score, abs=1e-6)
            assert [one["class"] for one in found["topk"]] == [name for name, _ in expected.topk(3)]


@pytest.mark.parametrize(
    ("content", "query", "status", "reason"),
    [
        (b"no image", "", 400, "image"),
        (b"", "", 400, "image"),
        (None, "?topk=0", 422, "topk"),
        (b"0" * (LIMIT + 1), "", 413, f"body must have at most {LIMIT} bytes"),
    ],
    ids=["no image", "empty", "topk", "large"],
)
def test_what_the_route_cannot_use_is_refused(application, jpegs, content, query, status, reason):
    found = application.classify(jpegs[0] if content is None else content, query)
    assert found[0] == status
    assert reason in json.dumps(found[2])


def test_a_body_without_length_is_refused_before_it_is_read(application):
    """A declared length is refused before the body arrives; http.client sends an iterator in chunks."""
    assert application.post(iter([b"chunk"]), "multipart/form-data; boundary=b")[0] == 411
    assert application.post(None, "multipart/form-data; boundary=b", **{"Content-Length": str(LIMIT + 1)})[0] == 413


def test_more_photos_than_places_are_told_to_come_back(application):
    content = cv2.imencode(".png", np.zeros((4000, 4000, 3), np.uint8))[1].tobytes()
    with concurrent.futures.ThreadPoolExecutor(4 * ACCEPTED) as pool:
        found = list(pool.map(application.classify, [content] * 4 * ACCEPTED))
    assert {status for status, _, _ in found} == {200, 503}
    assert all(headers["Retry-After"] == "1" for status, headers, _ in found if status == 503)
    assert sum(status == 200 for status, _, _ in found) >= ACCEPTED
    assert application.classify(content)[0] == 200
