"""Ctrl-C and SIGTERM at any moment of a command: one line, its exit code, and no file half written.

The moments begin when the process has installed the handlers. Before that Python itself starts; `_has_handlers` sees
the end of that time from outside, since Python handles SIGINT alone by itself, and a command SIGTERM, too.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from hrnet_deploy.imaging.synthetic_images import synthetic_images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc for the moment at which handlers are in place"),
]
LINES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
SEED = 19


def start(words, code=None):
    """Start a command."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    program = ["-m", "hrnet_deploy"] if code is None else ["-c", code]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


def _has_handlers(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*([0-9a-f]+)", status)[1], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def signaled(process, number, delay_s):
    """Send a signal after the handlers are in place; returns exit code and stderr."""
    while process.poll() is None and not _has_handlers(process):
        time.sleep(0.001)
    time.sleep(delay_s)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    return process.returncode, err.decode()


def moments(command, count, number=signal.SIGINT):
    """Interrupt a command at moments spread from its first to its last; returns how many ended it."""
    began = time.perf_counter()
    process = start(command)
    assert process.wait() == 0, process.communicate()
    duration = time.perf_counter() - began
    chance = random.Random(SEED)
    ended = 0
    for index in range(count):
        code, err = signaled(start(command), number, (index + chance.random()) / count * duration)
        if code == 0:  # it had finished before the signal came
            assert err == ""
            continue
        ended += 1
        assert (code, len(err.splitlines())) == (128 + number, 1), (index, code, err)
        assert re.fullmatch(rf"hrnet(_deploy|-\w+): {LINES[number]}\n", err)
    return ended


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve images in class folders."""
    root = tmp_path_factory.mktemp("photos")
    for index, image in enumerate(synthetic_images(12, (64, 64))):
        path = root / ("airplane", "bird", "cat")[index % 3] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), image)
    return root


@pytest.mark.parametrize(("number", "count"), [(signal.SIGINT, 16), (signal.SIGTERM, 6)])
def test_predict(photos_onnx, photos, tmp_path, number, count):
    words = ["predict", photos_onnx, photos / "cat", "--device", "cpu", "-q", "--save", tmp_path / "out"]
    assert moments(words, count, number) >= count // 2


def test_predict_in_processes(photos_onnx, photos, tmp_path):
    words = ["predict", photos_onnx, photos, "--device", "cpu", "-q", "--out", tmp_path / "out", "--chunk", "1"]
    assert moments([*words, "--executor", "processes:2"], 8) >= 1


@pytest.mark.parametrize(("number", "count"), [(signal.SIGINT, 8), (signal.SIGTERM, 4)])
def test_export(tmp_path, number, count):
    words = ["export", "hrnet_w18_small_v1", "--weights", "random", "--imgsz", "32", "--num-classes", "3", "-q"]
    assert moments([*words, "-o", tmp_path / "out.onnx"], count, number) >= count // 2
    assert {path.name for path in tmp_path.iterdir()} <= {"out.onnx"}


def test_report(photos_onnx, photos, tmp_path):
    words = ["report", photos_onnx, photos_onnx, "--data", photos, "--device", "cpu", "-q", "--seconds", "0.05"]
    assert moments([*words, "--out", tmp_path / "report"], 8) >= 4


def test_the_installed_entry_points(photos_onnx):
    code = "import sys; from hrnet_deploy.cli.commands import predict; sys.exit(predict())"
    words = [photos_onnx, "nothing.png"]
    chance = random.Random(SEED)
    for _ in range(4):
        code_, err = signaled(start(words, code), signal.SIGINT, chance.random() * 0.1)
        assert (code_, err) == (130, "hrnet-predict: interrupted\n")


BUSY = """
import sys, time
from hrnet_deploy.cli import interruption
interruption.own_process("hrnet-x")
from hrnet_deploy.cli.launch import launch
from hrnet_deploy.cli.parser import parser

class Lost:
    def __del__(self):
        time.sleep(1)

def run(args):
    {body}
    return 0

raise SystemExit(launch("hrnet-x", lambda argv: parser("hrnet-x", "Waits.").parse_args([]), run))
"""
BODIES = {
    "swallowed by a library": "try: print('ready', flush=True); time.sleep(30)\n    except BaseException: pass",
    "converted by a library": "try: print('ready', flush=True); time.sleep(30)\n"
    "    except BaseException: raise ImportError('no module')",
    "lost in a destructor": "print('ready', flush=True); Lost(); time.sleep(30)",
    "during clean-up": "try: print('ready', flush=True); time.sleep(30)\n    finally: time.sleep(1); print('cleaned')",
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("number", LINES)
def test_an_interruption_is_never_lost(body, number):
    process = start([], BUSY.format(body=BODIES[body]))
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.2)
    began = time.perf_counter()
    process.send_signal(number)
    if body == "during clean-up":
        time.sleep(0.3)
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.decode()) == (128 + number, f"hrnet-x: {LINES[number]}\n")
    assert time.perf_counter() - began < 20
    assert ("cleaned" in out.decode()) is (body == "during clean-up")


def test_ignored_signals_stay_ignored():
    """As with nohup, and in the background of a shell script."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY.format(body="print('ready', flush=True); time.sleep(2)")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509
    )
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
