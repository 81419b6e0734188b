"""Decoding in a process of its own, with limits of memory and time.

It is for formats whose headers do not bound what a decoder does (AVIF, GIF and JPEG 2000), for videos and for Parquet
tables. Whatever happens there, a crash too, is one error here. A process is started at the first need and serves many
images.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import multiprocessing.spawn
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.decoder_child import END, ERROR, IMAGE, NULL, REPLY, REQUEST, TABLE, VALUES, VIDEO
from hrnet_deploy.limits import IMAGE_DECODE_SECONDS, IMAGE_FILE_BYTES, IMAGE_PIXELS, TABLE_DECODE_SECONDS

_PROGRAM = "import sys; sys.path[:] = {path!r}; from hrnet_deploy.imaging.decoder_child import serve; serve()"
_PIPE_BYTES = 1 << 20
_START_SECONDS = 60
"""Limit of the start, which imports OpenCV."""
_CAPTURE_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# Playlists, patterns and pipelines name other files and servers; these containers do not. Only "file" is ever opened.
_VIDEOS_ONLY = "protocol_whitelist;file|format_whitelist;asf,avi,flv,matroska,mov,mpeg,mpegts,mpegvideo,m4v"
_REASON_BYTES = 1 << 12
_Reply = tuple[NDArray[Any], float]
"""Pixels, and the frames per second of a video."""
_Result = TypeVar("_Result")


def decode_isolated(content: bytes, what: str, flags: int) -> NDArray[Any]:
    """Decode an image as `cv2.imdecode` does, in another process.

    Args:
        content: the encoded image.
        what: name of the image in errors.
        flags: OpenCV's flags for decoding.

    Returns:
        The pixels, uint8 or uint16 (H, W) or (H, W, channels).

    Raises:
        ImageError: it cannot be decoded within the limits of memory and time.
    """
    try:
        with _borrowed() as process:
            return process.decode(content, flags)
    except DecoderError as error:
        raise ImageError(f"{what} cannot be decoded ({error}). Save it again as PNG or JPEG.") from error


def video_frames(path: Path, what: str) -> Generator[tuple[NDArray[Any], float], None, None]:
    """Decode a video file in another process.

    Args:
        path: a file, which is opened as a video whatever its name is.
        what: name of the video in errors.

    Yields:
        The pixels of each frame, BGR uint8 (H, W, 3), and the frames per second of the video, or 0.

    Raises:
        ImageError: no video, or one that cannot be decoded within the limits of memory and time.
    """
    try:
        with _borrowed() as process:
            yield from process.frames(path)
    except DecoderError as error:
        raise ImageError(f"{what} cannot be opened ({error}). Check that it plays, or convert it to MP4.") from error


def table_values(path: str, column: str, start: int, stop: int) -> Generator[bytes | None, None, None]:
    """Read rows of a column of a Parquet file in another process.

    Args:
        path: the file.
        column: a column of bytes or texts, or of structs with a field "bytes".
        start: the first row, counted from 0.
        stop: the row after the last one.

    Yields:
        The value of each row, a text as UTF-8; None for null.

    Raises:
        DecoderError: the file is damaged, or its rows cannot be read within the limits of memory and time.
    """
    whole = os.path.abspath(path)  # noqa: PTH100 - the process stays in the folder in which it was started
    with _borrowed() as process:
        yield from process.values([whole, column, start, stop])


class DecoderError(Exception):
    """A decoder failed; the message is a clause for another error."""


class DecoderProcess:
    """One process, which decodes one thing at a time.

    Attributes:
        is_free: whether it has finished all that was requested of it.
    """

    is_free = True

    def __init__(self) -> None:
        options = "|".join(filter(None, (os.environ.get(_CAPTURE_OPTIONS), _VIDEOS_ONLY)))
        environment = os.environ | {
            _CAPTURE_OPTIONS: options,
            "OPENCV_FFMPEG_THREADS": os.environ.get("OPENCV_FFMPEG_THREADS", "4"),
            "OPENCV_IO_MAX_IMAGE_PIXELS": str(IMAGE_PIXELS),
            "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others reserve a gigabyte at their start
            # Each arena of glibc and each thread of OpenBLAS reserves addresses, which are limited.
            "MALLOC_ARENA_MAX": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        command = [os.fsdecode(multiprocessing.spawn.get_executable()), "-c", _PROGRAM.format(path=sys.path)]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a fixed program
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # a terminal's signals are not for it
                pipesize=_PIPE_BYTES,
            )
        except OSError as error:
            raise DecoderError(f"no process can be started for it: {error.strerror}") from error
        self._input = cast("io.BufferedWriter", self._process.stdin)
        self._output = cast("io.BufferedReader", self._process.stdout)
        self._within_time(self._read, _START_SECONDS)

    def decode(self, content: bytes, flags: int) -> NDArray[Any]:
        """Decode an image with OpenCV's flags."""
        reply = self._within_time(lambda: self._request(IMAGE, flags, content))
        if reply is None:
            raise DecoderError("the decoder replied nothing")
        return reply[0]

    def frames(self, path: Path) -> Generator[tuple[NDArray[Any], float], None, None]:
        """Decode a video; yields each frame and the frames per second."""
        name = os.fsencode(os.path.abspath(path))  # noqa: PTH100 - no protocol begins with a slash
        reply = self._within_time(lambda: self._request(VIDEO, 0, name))
        while reply is not None:
            yield reply
            reply = self._within_time(self._read)

    def values(self, rows: list[Any]) -> Generator[bytes | None, None, None]:
        """Read rows of a table, given by path, column, start and stop."""
        content = json.dumps({"modules": sys.path, "rows": rows}).encode()
        self._within_time(lambda: self._send(TABLE, 0, content), TABLE_DECODE_SECONDS)
        while (values := self._within_time(self._read_values, TABLE_DECODE_SECONDS)) is not None:
            yield from values

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._output.close()
        with contextlib.suppress(OSError):  # what is left in the buffer has no reader
            self._input.close()
        self._process.wait()

    def _within_time(self, call: Callable[[], _Result], limit: int | None = None) -> _Result:
        """Call with a limit of time, after which the process is ended."""
        limit = IMAGE_DECODE_SECONDS if limit is None else limit
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(limit, end)
        timer.daemon = True
        timer.start()
        try:
            return call()
        except (OSError, EOFError, ValueError) as error:
            if late.is_set():
                raise DecoderError(f"it takes more than {limit} s") from error
            raise DecoderError(f"the decoder ended with code {self._process.wait()}") from error
        finally:
            timer.cancel()

    def _request(self, kind: bytes, flags: int, content: bytes) -> _Reply | None:
        """Send one request and read the first reply."""
        self._send(kind, flags, content)
        reply = self._read()
        self.is_free = self.is_free or kind == IMAGE
        return reply

    def _send(self, kind: bytes, flags: int, content: bytes) -> None:
        self.is_free = False
        self._input.write(REQUEST.pack(kind, flags, len(content)))
        self._input.write(content)
        self._input.flush()

    def _read(self) -> _Reply | None:
        """Read pixels; None at the end of a video."""
        kind, height, width, channels, item, fps, size = self._read_head()
        if kind == END:
            return None
        if item not in {1, 2} or height * width > IMAGE_PIXELS or size != height * width * channels * item:
            raise EOFError
        pixels = self._receive(size).view(np.uint8 if item == 1 else np.uint16)
        return pixels.reshape((height, width, channels) if channels > 1 else (height, width)), fps

    def _read_values(self) -> list[bytes | None] | None:
        """Read the values of some rows; None at the end of the rows."""
        kind, count, *_, size = self._read_head()
        if kind == END:
            return None
        if kind != VALUES or size > 2 * IMAGE_FILE_BYTES or 8 * count > size:
            raise EOFError
        lengths = self._receive(8 * count).view(np.int64)
        if lengths.min(initial=0) < NULL or lengths.clip(0).sum() != size - 8 * count:
            raise EOFError
        return [None if length == NULL else self._receive(length).tobytes() for length in lengths.tolist()]

    def _read_head(self) -> tuple[Any, ...]:
        """Read the head of a reply; DecoderError where it is that of an error."""
        head = REPLY.unpack(self._receive(REPLY.size).data)
        self.is_free = head[0] in {END, ERROR}
        if head[0] == ERROR:
            raise DecoderError(bytes(self._receive(min(head[-1], _REASON_BYTES))).decode("utf-8", "replace"))
        return head

    def _receive(self, size: int) -> NDArray[np.uint8]:
        content, place = np.empty(size, np.uint8), 0
        while place < size:
            count = self._output.readinto(content[place:].data)
            if not count:
                raise EOFError
            place += count
        return content


@contextlib.contextmanager
def _borrowed() -> Iterator[DecoderProcess]:
    """Lend an idle process, or a new one."""
    idle = _idle.setdefault(os.getpid(), [])
    try:
        process = idle.pop()
    except IndexError:  # of two threads one may be first
        process = DecoderProcess()
    try:
        yield process
    finally:
        if process.is_free:
            idle.append(process)
        else:
            process.close()


_idle: dict[int, list[DecoderProcess]] = {}
"""Processes that wait, by the process that started them: a fork must not use those of its parent."""


@atexit.register
def _end() -> None:
    for process in _idle.pop(os.getpid(), []):
        process.close()
