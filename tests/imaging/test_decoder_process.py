"""Decoding in a process of its own."""

import os
import signal
import struct
import sys
import threading
import time
import zlib

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
    got = decode_isolated(content, cv2.IMREAD_UNCHANGED, "image")
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
        found[level] = decode_isolated(content, cv2.IMREAD_COLOR, "image")

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
    side = 13_000  # of 16 bits and four channels, which OpenCV has twice: 2.7 GB
    deflate = zlib.compressobj(1)
    data = b"".join([*(deflate.compress(bytes(1 + 8 * side)) for _ in range(side)), deflate.flush()])
    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )
    with pytest.raises(ImageError, match=r"cannot be decoded \(Failed to allocate"):
        decode_isolated(content, cv2.IMREAD_UNCHANGED, "image")


def test_a_process_that_cannot_start_is_one_line(monkeypatch):
    monkeypatch.setattr(decoder_process, "_idle", {})
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: "/nowhere/python")
    with pytest.raises(ImageError, match=r"image cannot be decoded \(no process can be started"):
        decode_isolated(PNG, cv2.IMREAD_COLOR, "image")


def test_a_file_that_is_no_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(ImageError, match="video cannot be opened"):
        list(video_frames(tmp_path / "a.mp4", "video"))
