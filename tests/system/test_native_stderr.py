"""Native lines on descriptor 2: captured, escaped, and attributed to the image that caused them."""

import logging
import os
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.decode_image import from_bytes
from hrnet_deploy.limits import NATIVE_LINES_BYTES
from hrnet_deploy.system import native_stderr

_PIXELS = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
GOOD = cv2.imencode(".jpg", _PIXELS)[1].tobytes()
DAMAGED = GOOD[:-2] + bytes(12) + GOOD[-2:]
DAMAGE = "Corrupt JPEG data: "


@pytest.fixture
def log(monkeypatch, caplog):
    """The log at debug level; the capture is each test's own, because pytest moves descriptor 2 between its phases."""
    monkeypatch.delenv(native_stderr.STRICT, raising=False)
    caplog.set_level(logging.DEBUG, logger="hrnet_deploy")
    return caplog


def warnings(log):
    return [record.getMessage() for record in log.records if record.levelno == logging.WARNING]


def test_a_damaged_image_is_a_warning_with_its_name(log):
    with native_stderr.captured():
        assert from_bytes(DAMAGED, "image 'x.jpg'").shape == (64, 96, 3)
    (text,) = warnings(log)
    assert text.startswith(f"image 'x.jpg' has damaged data ({DAMAGE}")
    assert text.endswith("; its pixels may be wrong")


def test_strict_refuses_it(log, monkeypatch):
    monkeypatch.setenv(native_stderr.STRICT, "1")
    with native_stderr.captured():
        with pytest.raises(ImageError, match=f"^image 'x.jpg' must have undamaged data, got: {DAMAGE}"):
            from_bytes(DAMAGED, "image 'x.jpg'")
        assert from_bytes(GOOD, "image 'y.jpg'").shape == (64, 96, 3)
    assert warnings(log) == []


def test_a_harmless_warning_is_for_the_log_only(log):
    png = cv2.imencode(".png", _PIXELS)[1].tobytes()
    text_chunk = b"\0\0\0\3tEXta\0b\0\0\0\0"  # with a wrong checksum
    with native_stderr.captured():
        from_bytes(png[:33] + text_chunk + png[33:], "image 'x.png'")
    assert warnings(log) == []
    assert "libpng warning: tEXt: CRC error" in log.text


def test_attribution_is_exact_among_concurrent_threads(log):
    def decode(index):
        for turn in range(8):
            from_bytes(DAMAGED if index == 3 else GOOD, f"image '{index}.{turn}'")

    threads = [threading.Thread(target=decode, args=(index,)) for index in range(6)]
    with native_stderr.captured():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    names = sorted(text.split("'")[1] for text in warnings(log))
    assert names == [f"3.{turn}" for turn in range(8)]


def test_lines_of_another_library_are_no_damage(log):
    is_over = threading.Event()

    def chatter():
        while not is_over.is_set():
            os.write(2, f"[W:onnxruntime] {time.perf_counter_ns()}\n".encode())
            time.sleep(1e-4)

    writer = threading.Thread(target=chatter)
    with native_stderr.captured():
        writer.start()
        try:
            for turn in range(20):
                from_bytes(GOOD, f"image '{turn}'")
        finally:
            is_over.set()
            writer.join()
    assert warnings(log) == []


def test_without_a_capture_nothing_changes(caplog, capfd):
    from_bytes(DAMAGED, "image 'x.jpg'")
    assert DAMAGE in capfd.readouterr().err
    assert caplog.records == []
    assert not native_stderr.is_captured()


def test_a_capture_gives_everything_back(capfd):
    before = sys.stderr, os.fstat(2)
    with native_stderr.captured(), native_stderr.captured():
        os.write(2, b"native\n")
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'child')"], check=True)
    assert (sys.stderr, os.fstat(2)) == before
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


@pytest.mark.slow
@pytest.mark.parametrize("closed", [False, True])
def test_pythons_standard_error_is_escaped_and_may_be_closed(closed):
    code = """
import os, sys
from hrnet_deploy.system import native_stderr
with native_stderr.captured():
    if native_stderr.is_captured():
        os.write(2, b"hidden")
    if sys.stderr is not None:
        print("a\\x1b[31m\\u202eb\\tc", file=sys.stderr)
print("end")
"""
    command = [sys.executable, "-c", code]
    if closed:
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "end\n")
    assert done.stderr == ("" if closed else "a\\x1b[31m\\u202eb\tc\n")


def test_a_flood_is_read_up_to_a_limit(log):
    with native_stderr.captured():
        os.write(2, b"\n" * (1 << 18))
        native_stderr.drain()
        assert os.lseek(2, 0, os.SEEK_END) == 0
    assert log.records[-1].getMessage() == f"native library: {(1 << 18) - NATIVE_LINES_BYTES} more bytes"
