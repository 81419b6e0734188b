"""Lines that native libraries write on standard error: captured, never shown raw, and attributed to one image.

libjpeg, libpng, OpenCV, FFmpeg and ONNX Runtime write to file descriptor 2. Inside `captured` these lines go to a file
in memory, Python's own standard error writes to a duplicate of the descriptor, and the lines are logged at debug level.
Without `captured`, as in a library, nothing changes.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from hrnet_deploy.limits import NATIVE_LINES_BYTES
from hrnet_deploy.system.text_table import printable

STRICT = "HRNET_DEPLOY_STRICT"
"""Environment variable: "1" refuses images with damaged data, in worker processes, too; needs `captured`."""

_LOG = logging.getLogger(__name__)
_STDERR = 2
_PATIENCE_S = 10.0
_CONTROL = re.compile(r"[^\t\n\r -~]")
_Result = TypeVar("_Result")

# OpenCV's log has a time in each line, and libpng warns about harmless text and color chunks.
_OPENCV_ERROR = re.compile(r"\[ERROR:\d+@[\d.]+\] global \S+ (?:\S+_Error )?(?P<text>.*)")
_HARMLESS = re.compile(r"\[ *(?:WARN|INFO|DEBUG|VERB)|libpng warning: (?!IDAT)")


class EscapingStream(io.TextIOWrapper):
    """Standard error in which other libraries' texts cannot move the cursor."""

    def write(self, text: str) -> int:
        """Write a text with escaped control characters, except line ends and carriage returns."""
        super().write(_CONTROL.sub(lambda found: printable(found[0]), text))
        return len(text)

    def write_raw(self, text: str) -> int:
        """Write a text as it is, for progress bars."""
        return super().write(text)


class _Capture:
    """The file that holds native lines, and the lock that lets one decoder run alone."""

    def __init__(self, stream: Any) -> None:
        self._original = os.dup(_STDERR)
        self._file = _memory_file()
        self._stream = stream if _descriptor(stream) == _STDERR else None
        if self._stream is not None:
            self._stream.flush()
            sys.stderr = EscapingStream(
                open(self._original, "wb", closefd=False),  # noqa: SIM115 - open as long as standard error is
                encoding=self._stream.encoding,
                errors="backslashreplace",
                line_buffering=True,
            )
        os.dup2(self._file, _STDERR)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside, self._is_taken = 0, False

    def watched(self, work: Callable[[], _Result]) -> tuple[_Result, tuple[str, ...]]:
        """Run beside other work; if native lines arrived meanwhile, again alone, for lines that are its own."""
        with self._lock:
            if self._is_taken:
                self._changed.wait_for(lambda: not self._is_taken, _PATIENCE_S)
            self._inside += 1
        try:
            result = work()
            is_suspect = self._size() > 0  # seen before it counts as outside, so that nobody has removed its lines
        finally:
            with self._lock:
                self._inside -= 1
                if self._is_taken:
                    self._changed.notify_all()
        return (result, self._lines_of(work)) if is_suspect else (result, ())

    def _lines_of(self, work: Callable[[], Any]) -> tuple[str, ...]:
        """Run twice alone: lines of other libraries do not come twice."""
        with self._lock:
            self._changed.wait_for(lambda: not self._is_taken, _PATIENCE_S)
            self._is_taken = True
            self._changed.wait_for(lambda: not self._inside, _PATIENCE_S)
        try:
            self.drain()
            work()
            first = _complaints(self.drain())
            work()
            second = _complaints(self.drain())
        finally:
            with self._lock:
                self._is_taken = False
                self._changed.notify_all()
        return tuple(line for line in first if line in second)

    def drain(self) -> list[str]:
        """Log the captured lines at debug level, remove them, and return them."""
        size = self._size()
        if not size:
            return []
        content = os.pread(self._file, NATIVE_LINES_BYTES, 0)
        os.ftruncate(self._file, 0)
        if size > len(content):
            content = content[: content.rfind(b"\n") + 1]  # half of a line would be a line of its own
        lines = [line for line in content.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
        for line in lines:
            _LOG.debug("native library: %s", line)
        if size > len(content):
            _LOG.debug("native library: %d more bytes", size - len(content))
        return lines

    def close(self) -> None:
        """Give the descriptor back."""
        self.drain()
        os.dup2(self._original, _STDERR)
        if self._stream is not None and isinstance(sys.stderr, EscapingStream):
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            sys.stderr = self._stream
        os.close(self._file)
        os.close(self._original)

    def _size(self) -> int:
        return os.lseek(self._file, 0, os.SEEK_END)


_active: _Capture | None = None


@contextlib.contextmanager
def captured() -> Iterator[None]:
    """Capture what native code of this process, and its child processes, writes on standard error.

    `sys.stderr` is replaced where it writes to descriptor 2. A program that uses the package as a library enters this
    itself, if it wants to know which images have damaged data. Inside another capture it changes nothing.
    """
    is_first = capture()
    try:
        yield
    finally:
        if is_first:
            release()


def capture() -> bool:
    """Begin as `captured` does, and leave the end to `release`; return whether this call began it."""
    global _active  # noqa: PLW0603 - a process has one descriptor 2
    if _active is not None:
        return False
    try:
        _active = _Capture(sys.stderr)
    except OSError:  # descriptor 2 is closed, so native lines reach nobody
        return False
    return True


def release() -> None:
    """End a capture."""
    global _active
    ended, _active = _active, None
    if ended is not None:
        ended.close()


def watched(work: Callable[[], _Result]) -> tuple[_Result, tuple[str, ...]]:
    """Run a decoder, and find the lines in which it reports damaged data.

    Args:
        work: the decoder; it is run again where native lines arrived, and must return the same.

    Returns:
        What it returned, and its lines; none where nothing is captured.
    """
    return (work(), ()) if _active is None else _active.watched(work)


def is_captured() -> bool:
    """Return whether native lines are captured now."""
    return _active is not None


def drain() -> None:
    """Log the captured lines at debug level; call it at the end of a piece of work."""
    if _active is not None:
        _active.drain()


def _complaints(lines: list[str]) -> list[str]:
    """Keep the lines that tell of damaged pixels, without the time in OpenCV's."""
    shown = []
    for line in lines:
        found = _OPENCV_ERROR.match(line)
        if found is not None or not _HARMLESS.match(line):
            shown.append(line if found is None else found["text"])
    return shown


def _memory_file() -> int:
    """Open a file that no name leads to; writes append."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("native_stderr")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    if os.name == "posix":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
    return descriptor


def _descriptor(stream: Any) -> int | None:
    try:
        number: int = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
    return number
