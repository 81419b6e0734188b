"""Nothing reaches for the network by itself: a library that calls home from native code is seen here as well."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

SOURCE = Path(__file__).with_name("lookups.c")
SECONDS = 12
"""ONNX Runtime 1.31 waits about ten seconds before it looks up the host of its events."""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler to watch native look-ups")
    path = tmp_path_factory.mktemp("lookups") / "lookups.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, SOURCE, "-ldl"], check=True)
    return path


@pytest.fixture(scope="module")
def watched(library, tmp_path_factory):
    """Starts a Python program; the result waits for it, and is what it looked up and the files in its empty home."""

    def start(program, *words):
        folder = tmp_path_factory.mktemp("watched")
        home, log = folder / "home", folder / "log"
        home.mkdir()
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_"))}
        environment |= {"HOME": str(home), "LOOKUPS": str(log), "LD_PRELOAD": str(library)}
        environment["HRNET_DEPLOY_CACHE"] = str(home / "ours")
        process = subprocess.Popen([sys.executable, "-c", program, *map(str, words)], env=environment)

        def finish():
            assert process.wait() == 0
            files = [path for path in home.rglob("*") if path.is_file() and home / "ours" not in path.parents]
            return (log.read_text() if log.exists() else ""), files

        return finish

    return start


@pytest.fixture(scope="module")
def started(watched, photos_onnx, picture, tmp_path_factory):
    """Predictors and the doctor, which wait at the same time."""
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    cv2.imwrite(str(path), picture)
    predict = (
        "import sys, time; from hrnet_deploy import Predictor; from hrnet_deploy.errors import MissingDependencyError\n"
        "try:\n    Predictor(sys.argv[1], device='cpu', backend=sys.argv[2]).predict(sys.argv[3])\n"
        "except MissingDependencyError:\n    pass\n"
        f"time.sleep({SECONDS})"
    )
    doctor = "import time; from hrnet_deploy.cli.doctor import run, parse_args; run(parse_args(['-q']))"
    running = {backend: watched(predict, photos_onnx, backend, path) for backend in ("onnxruntime", "openvino")}
    return running | {"doctor": watched(f"{doctor}; time.sleep({SECONDS})")}


def test_a_look_up_is_seen(watched):
    program = "import socket\ntry:\n    socket.getaddrinfo('example.invalid', 80)\nexcept OSError:\n    pass"
    assert watched(program)()[0] == "name example.invalid\n"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_predicting_looks_nothing_up_and_leaves_nothing(started, backend):
    assert started[backend]() == ("", [])


@pytest.mark.slow
def test_the_doctor_looks_nothing_up(started):
    assert started["doctor"]() == ("", [])
