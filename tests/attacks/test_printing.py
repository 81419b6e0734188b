"""Texts of strangers reach no terminal as they are: class names, file names, node names, errors, flags."""

import json
import os
import shlex
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest

from hrnet_deploy import export

EVIL = "x\x1b]0;t\a\x1b[2J\x1b[1A\u202etxt\u2028\x85\x9b31m\nhrnet-predict: forged"
"""Sets a terminal's title, rings, clears, moves up, reverses, breaks lines in three ways, and forges a line."""


def run(*words, **more):
    """Run a command; returns exit code, stdout and stderr as texts."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hrnet_deploy", *map(os.fsencode, words)]
    done = subprocess.run(command, capture_output=True, check=False, env=environment, timeout=120, **more)
    return done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr)


def assert_harmless(text):
    """Nothing but line ends controls the terminal, and no line is forged."""
    assert all(line.isprintable() for line in text.split("\n")), repr(text)
    assert not any(line.startswith("hrnet-predict: forged") for line in text.split("\n"))


@pytest.fixture(scope="module")
def evil(demo, tmp_path_factory):
    """An artifact whose class names, producer and metadata are hostile, and a folder of hostile names."""
    folder = tmp_path_factory.mktemp("evil")
    names = [f"{EVIL} {index}" for index in range(10)]
    path = export(
        weights=demo / "hrnet_w18_small_v1_photos10.safetensors",
        imgsz=32,
        resize="squash",
        classes=names,
        output=folder / "evil.onnx",
    ).path
    model = onnx.load(path)
    model.producer_name = EVIL
    model.graph.name = EVIL
    onnx.save(model, path)
    images = folder / "images"
    images.mkdir()
    jpeg = cv2.imencode(".jpg", np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8))[1].tobytes()
    (images / f"{EVIL}.jpg").write_bytes(jpeg)
    (images / f"damaged{EVIL}.jpg").write_bytes(jpeg[:-2] + bytes(12) + jpeg[-2:])
    if sys.platform == "linux":
        (images / os.fsdecode(b"caf\xe9\x1b[31m.jpg")).write_bytes(jpeg)
    (folder / f"{EVIL}.onnx").write_bytes(b"no model")
    return folder


@pytest.mark.slow
def test_predictions(evil):
    code, out, err = run("predict", evil / "evil.onnx", evil / "images", "--device", "cpu")
    assert code == 0
    assert_harmless(out + err)
    assert len(out.splitlines()) == len(list((evil / "images").iterdir()))
    assert "has damaged data (Corrupt JPEG data: " in err
    code, out, err = run("predict", evil / "evil.onnx", evil / "images", "--device", "cpu", "--json")
    assert_harmless(out + err)
    records = [json.loads(line) for line in out.splitlines()]
    assert {record["name"] for record in records} == {path.name for path in (evil / "images").iterdir()}
    assert records[0]["topk"][0]["class"].startswith(EVIL)


@pytest.mark.slow
def test_strict_refuses_damaged_data_in_one_line(evil):
    code, out, err = run("predict", evil / "evil.onnx", evil / "images", "--device", "cpu", "--strict", "-q")
    assert code == 2
    assert_harmless(out + err)
    (line,) = err.splitlines()
    assert "must have undamaged data, got: Corrupt JPEG data: " in line


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--json"], ["--runtimes"], ["--verify"]])
def test_inspection(evil, flags):
    code, out, err = run("inspect", evil / "evil.onnx", *flags)
    assert code == (2 if flags == ["--verify"] else 0)  # its digest is no longer that of the card
    assert_harmless(out + err)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["-q", "-v"])
@pytest.mark.parametrize(
    "words",
    [
        "predict '{evil}/{name}.onnx' '{evil}/images'",
        "predict '{evil}/evil.onnx' '{name}'",
        "predict '{evil}/evil.onnx' '{evil}/images' --card '{name}'",
        "inspect '{name}'",
        "models '{name}'",
        "doctor --target '{name}'",
        "export '{name}'",
        "export --weights '{name}'",
        "export hrnet_w18_small_v1 --classes '{name}' -o '{evil}/new.onnx'",
        "bench '{evil}/evil.onnx' --image '{name}'",
        "report '{evil}/evil.onnx' '{evil}/evil.onnx' --data '{name}'",
        "serve '{name}=evil.onnx'",
        "predict --{name}",
        "{name}",
    ],
)
def test_errors(evil, words, noise):
    given = shlex.split(words.format(evil=evil, name=EVIL))
    code, out, err = run(*given, *([] if given == [EVIL] else [noise]))
    assert code in {1, 2}
    assert_harmless(out + err)
    own = [line for line in err.splitlines() if line.startswith(("hrnet-", "hrnet_deploy")) and "warning:" not in line]
    assert len(own) == 1
    assert "internal error" not in err


@pytest.mark.slow
def test_a_report(evil, tmp_path):
    data = tmp_path / "data"
    for index in range(2):
        folder = data / f"{EVIL} {index}".replace("/", "_")
        folder.mkdir(parents=True)
        (folder / f"{EVIL}.png").write_bytes(cv2.imencode(".png", np.full((32, 32, 3), index, np.uint8))[1].tobytes())
    words = ("--data", data, "--out", tmp_path / "out", "--seconds", "0.05", "--device", "cpu")
    code, out, err = run("report", evil / "evil.onnx", evil / "evil.onnx", *words)
    assert_harmless(out + err)
    assert "internal error" not in err
    assert code in {0, 1, 2}
    if code == 0:
        assert_harmless((tmp_path / "out" / "report.md").read_text())
