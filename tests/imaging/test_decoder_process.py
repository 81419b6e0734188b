"""Decoding in a process of its own."""

import os
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging import decoder_process
from hrnet_deploy.imaging.decoder_process import DecoderProcess, decode_isolated, video_frames

BGR = np.random.default_rng(7).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PNG = cv2.imencode(".png", BGR)[1].tobytes()


@pytest.fixture
def process():
    process = DecoderProcess()
    yield process
    process.close()


@pytest.mark.parametrize("image", [BGR, BGR[..., 0], BGR.astype(np.uint16) * 257], ids=["color", "gray", "16 bits"])
def test_pixels_arrive_as_they_are_decoded(image):
    content = cv2.imencode(".png", image)[1].tobytes()
    got = decode_isolated(content, "image", cv2.IMREAD_UNCHANGED)
    assert got.dtype == image.dtype
    assert np.array_equal(got, image)
    got[:] = 0  # the caller may draw on it


def test_an_error_is_one_line_and_the_process_goes_on(process):
    with pytest.raises(decoder_process.DecoderError, match="damaged"):
        process.decode(b"nothing", cv2.IMREAD_COLOR)
    assert process.is_free
    assert np.array_equal(process.decode(PNG, cv2.IMREAD_COLOR), BGR)


def test_threads_decode_side_by_side():
    images = [np.full((5, 6, 3), level, np.uint8) for level in range(8)]
    found = {}

    def decode(level):
        content = cv2.imencode(".png", images[level])[1].tobytes()
        found[level] = decode_isolated(content, "image", cv2.IMREAD_COLOR)

    threads = [threading.Thread(target=decode, args=(level,)) for level in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[level], images[level]) for level in range(8))


@pytest.mark.skipif(os.name != "posix", reason="Windows has other signals")
def test_a_decoder_that_crashes_is_one_line(process):
    process._process.send_signal(signal.SIGSEGV)
    with pytest.raises(decoder_process.DecoderError, match="the decoder ended with code -11"):
        process.decode(PNG, cv2.IMREAD_COLOR)
    assert not process.is_free


@pytest.mark.skipif(os.name != "posix", reason="Windows has other signals")
def test_a_decoder_that_stands_still_is_ended(process, monkeypatch):
    monkeypatch.setattr(decoder_process, "IMAGE_DECODE_SECONDS", 1)
    process._process.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(decoder_process.DecoderError, match="takes more than 1 s"):
        process.decode(PNG, cv2.IMREAD_COLOR)
    assert time.monotonic() - start < 10


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_a_decoder_has_a_limit_of_memory():
    program = (
        "import numpy as np\nfrom hrnet_deploy.imaging.decoder_child import _memory_limit\n"
        "with _memory_limit(1 << 28):\n    np.ones(1 << 27, np.uint8)\n"
        "    try:\n        np.ones(1 << 29, np.uint8)\n    except MemoryError:\n        print('limited')\n"
        "np.ones(1 << 29, np.uint8)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "limited\n"


def test_a_process_that_cannot_start_is_one_line(monkeypatch):
    monkeypatch.setattr(decoder_process, "_idle", {})
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: "/nowhere/python")
    with pytest.raises(ImageError, match=r"image cannot be decoded \(no process can be started"):
        decode_isolated(PNG, "image", cv2.IMREAD_COLOR)


def test_a_file_that_is_no_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(ImageError, match="video cannot be opened"):
        list(video_frames(tmp_path / "a.mp4", "video"))
