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


@pytest.fixture
def watched(library, tmp_path):
    """Runs a Python program; returns what it looked up, and the files it left in an empty home."""
    home, log = tmp_path / "home", tmp_path / "log"
    home.mkdir()

    def run(program, *words):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_"))}
        environment |= {"HOME": str(home), "LOOKUPS": str(log), "LD_PRELOAD": str(library)}
        environment["HRNET_DEPLOY_CACHE"] = str(home / "ours")
        subprocess.run([sys.executable, "-c", program, *map(str, words)], env=environment, check=True)
        files = [path for path in home.rglob("*") if path.is_file() and home / "ours" not in path.parents]
        return (log.read_text() if log.exists() else ""), files

    return run


def test_a_look_up_is_seen(watched):
    program = "import socket\ntry:\n    socket.getaddrinfo('example.invalid', 80)\nexcept OSError:\n    pass"
    assert watched(program)[0] == "name example.invalid\n"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_predicting_looks_nothing_up_and_leaves_nothing(watched, photos_onnx, picture, tmp_path, backend):
    cv2.imwrite(str(tmp_path / "picture.png"), picture)
    program = (
        "import sys, time; from hrnet_deploy import Predictor; from hrnet_deploy.errors import MissingDependencyError\n"
        "try:\n    Predictor(sys.argv[1], device='cpu', backend=sys.argv[2]).predict(sys.argv[3])\n"
        "except MissingDependencyError:\n    pass\n"
        f"time.sleep({SECONDS})"
    )
    assert watched(program, photos_onnx, backend, tmp_path / "picture.png") == ("", [])


@pytest.mark.slow
def test_the_doctor_looks_nothing_up(watched):
    program = "import time; from hrnet_deploy.cli.doctor import run, parse_args; run(parse_args(['-q']))"
    program += f"; time.sleep({SECONDS})"
    assert watched(program) == ("", [])
