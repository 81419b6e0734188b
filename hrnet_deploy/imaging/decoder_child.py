"""The process that decodes for another one, with limited memory: it reads requests and writes pixels.

A request is `REQUEST` and its content: an encoded image, the path of a video, or JSON for rows of a table. A reply is
`REPLY` and its content: pixels (one reply to an image, one for each frame of a video), the values of some rows, the
text of an error, or nothing at the end of a video or a table.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import cv2
import numpy as np

from hrnet_deploy.errors import one_line
from hrnet_deploy.imaging.table_values import column_values
from hrnet_deploy.limits import (
    IMAGE_DECODE_BYTES,
    IMAGE_FILE_BYTES,
    IMAGE_PIXELS,
    TABLE_DECODE_BYTES,
    VIDEO_DECODE_BYTES,
)

REQUEST = struct.Struct("<ciQ")
"""Kind, OpenCV's flags, bytes of the content."""
REPLY = struct.Struct("<c4IdQ")
"""Kind, (height, width, channels, bytes of a sample), frames per second, bytes of the content."""
IMAGE, VIDEO, TABLE, VALUES, ERROR, END = b"I", b"V", b"T", b"R", b"E", b"."
NULL = -1
"""Length of a null; the lengths, int64, are before the values."""
_REPLY_BYTES = 1 << 20
_REPLY_ROWS = 1 << 10
_MEMORY = {IMAGE: IMAGE_DECODE_BYTES, VIDEO: VIDEO_DECODE_BYTES, TABLE: TABLE_DECODE_BYTES}
_BACKENDS = (cv2.CAP_FFMPEG, cv2.CAP_MSMF, cv2.CAP_AVFOUNDATION)
"""Readers of video files; the others take names for patterns of images or for pipelines."""


def serve() -> None:
    """Reply to all requests on the standard input."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    cv2.setNumThreads(1)
    _write(sink, END, b"")  # ready
    while len(head := source.read(REQUEST.size)) == REQUEST.size:
        kind, flags, size = REQUEST.unpack(head)
        try:
            with _memory_limit(_MEMORY[kind]):
                content = source.read(size)
                if kind == IMAGE:
                    _write_pixels(sink, _image(content, flags))
                elif kind == TABLE:
                    _write_values(sink, **json.loads(content))
                else:
                    _write_frames(sink, os.fsdecode(content))
        except BrokenPipeError:  # nobody reads on
            return
        except Exception as error:  # noqa: BLE001 - whatever a decoder raises is the reply
            reason = getattr(error, "err", None) or error
            _write(sink, ERROR, one_line(reason or "no memory is left", 300).encode("utf-8", "replace"))


@contextlib.contextmanager
def _memory_limit(size: int) -> Iterator[None]:
    """Limit what is allocated from now on, where the system can."""
    try:
        import resource

        with open("/proc/self/statm") as file:  # noqa: PTH123 - no path of a user
            used = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (used + size if hard == resource.RLIM_INFINITY else min(hard, used + size), hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _image(content: bytes, flags: int) -> Any:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if image is None:
        raise ValueError("damaged, or with a feature that OpenCV does not read")
    return image


def _write_frames(sink: BinaryIO, path: str) -> None:
    """Decode a video to its end; the size of a frame is known before its pixels are taken."""
    known = cv2.videoio_registry.getStreamBackends()
    backend = next((backend for backend in _BACKENDS if backend in known), None)
    if backend is None:
        raise ValueError("this OpenCV reads no video files; pip install opencv-python-headless")
    capture = cv2.VideoCapture(path, backend)
    try:
        if not capture.isOpened():
            raise ValueError("it cannot be opened")
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        while capture.grab():
            size_hw = [int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
            if size_hw[0] * size_hw[1] > IMAGE_PIXELS:
                raise ValueError(f"frames must have at most {IMAGE_PIXELS} pixels, got {size_hw[0]}x{size_hw[1]}")
            decoded, image = capture.retrieve()
            if not decoded:
                break
            _write_pixels(sink, image, fps)
        _write(sink, END, b"")
    finally:
        capture.release()


def _write_values(sink: BinaryIO, modules: list[str], rows: list[Any]) -> None:
    """Write the values of rows (path, column, start, stop), with the modules of the process that asks."""
    sys.path[:] = modules
    lengths: list[int] = []
    contents: list[bytes] = []
    size = 0
    for value in column_values(*rows):
        content = value.encode() if isinstance(value, str) else value or b""
        if len(content) > IMAGE_FILE_BYTES:
            raise ValueError(f"a value has {len(content)} bytes, more than {IMAGE_FILE_BYTES}")
        lengths.append(NULL if value is None else len(content))
        contents.append(content)
        size += len(content)
        if size >= _REPLY_BYTES or len(lengths) == _REPLY_ROWS:
            _flush_values(sink, lengths, contents)
            size = 0
    _flush_values(sink, lengths, contents)
    _write(sink, END, b"")


def _flush_values(sink: BinaryIO, lengths: list[int], contents: list[bytes]) -> None:
    """Write values, and empty the lists."""
    head = np.array(lengths, np.int64).tobytes()
    sink.write(REPLY.pack(VALUES, len(lengths), 0, 0, 0, 0.0, len(head) + sum(map(len, contents))))
    sink.write(head)
    while contents:  # a large value is not held longer than needed
        sink.write(contents.pop(0))
    sink.flush()
    lengths.clear()


def _write_pixels(sink: BinaryIO, image: Any, fps: float = 0.0) -> None:
    image = np.ascontiguousarray(image if image.ndim == 3 else image[:, :, None])
    _write(sink, IMAGE, image.data, (*image.shape, image.itemsize), fps)


def _write(sink: BinaryIO, kind: bytes, content: Any, shape: tuple[int, ...] = (0, 0, 0, 0), fps: float = 0.0) -> None:
    size = memoryview(content).nbytes
    sink.write(REPLY.pack(kind, *shape, fps, size))
    sink.write(content)
    sink.flush()
