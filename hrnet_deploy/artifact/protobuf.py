"""The wire format of protocol buffers, read field by field from a file or from bytes.

A file is read in small pieces and not mapped: a mapped file that another process cuts would end this process.
Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hrnet_deploy.errors import ArtifactError
from hrnet_deploy.limits import GRAPH_TEXT_BYTES
from hrnet_deploy.system.regular_file import open_regular

_WINDOW_BYTES = 1 << 13
_MAX_VARINT_BYTES = 10

Span = tuple[int, int, int]
"""Number of a field, start and end of its content."""


class WireError(ArtifactError):
    """Content that is no protocol buffer, or one that is cut short."""


class Content:
    """Bytes of a message; the last piece that was read is kept.

    Attributes:
        size: number of bytes.
        remembered: messages that were parsed, by their bytes, for readers that meet equal ones.
    """

    def __init__(self, source: bytes | IO[bytes]) -> None:
        """Wrap bytes, or an open file without a buffer of its own."""
        self._file = None if isinstance(source, bytes) else source
        self.remembered: dict[bytes, dict[str, Any]] = {}
        self._window, self._base = (source if isinstance(source, bytes) else b""), 0
        self.size = len(source) if isinstance(source, bytes) else os.fstat(source.fileno()).st_size

    def window(self, position: int) -> tuple[bytes, int]:
        """Return bytes around a position, with at least two whole varints where there are such, and their start."""
        base, window = self._base, self._window
        if base <= position and (position + 2 * _MAX_VARINT_BYTES <= base + len(window) or self._file is None):
            return window, base
        end = base + len(window)
        if base <= position < end and end == self.size:
            return window, base
        self._window, self._base = self._piece(position, _WINDOW_BYTES), position
        return self._window, position

    def read(self, start: int, end: int) -> bytes:
        """Return a span of bytes; WireError where the file ends before."""
        base, window = self._base, self._window
        if base <= start and end <= base + len(window):
            return window[start - base : end - base]
        found = self._piece(start, end - start)
        if len(found) != end - start:
            raise WireError("it is cut short")
        return found

    def text(self, start: int, end: int) -> str:
        """Return a span of UTF-8; WireError for other bytes, and for a longer text than `GRAPH_TEXT_BYTES`."""
        if end - start > GRAPH_TEXT_BYTES:
            raise WireError(f"it has a text of {end - start:,} bytes")
        try:
            return str(self.read(start, end), "utf-8")
        except UnicodeDecodeError as error:
            raise WireError("it has a name or text that is not UTF-8") from error

    def number(self, position: int) -> int:
        """Return the varint at a position."""
        window, base = self.window(position)
        return _varint(window, position - base)[0]

    def fields(self, start: int, end: int) -> Iterator[Span]:
        """Iterate over the fields of the message in a span."""
        position = start
        window, base = self.window(position)
        whole = base + len(window) - 2 * _MAX_VARINT_BYTES
        while position < end:
            if position > whole or position < base:
                window, base = self.window(position)
                whole = base + len(window) - 2 * _MAX_VARINT_BYTES
            tag, first = _varint(window, position - base)
            wire = tag & 7
            if wire == 2:
                length, at = _varint(window, first)
                first = base + at
                after = first + length
            elif wire == 0:
                after = base + _varint(window, first)[1]
                first += base
            elif wire in {1, 5}:
                first += base
                after = first + (8 if wire == 1 else 4)
            else:
                raise WireError(f"it has a field of wire type {wire}")
            if after > end:
                raise WireError("a field reaches beyond its message")
            yield tag >> 3, first, after
            position = after

    def find(self, start: int, end: int, number: int) -> str:
        """Return the last text field of that number, as protocol buffers define it; "" without one."""
        found = ""
        for kind, first, last in self.fields(start, end):
            if kind == number:
                found = self.text(first, last)
        return found

    def below(self, start: int, end: int, path: tuple[int, ...]) -> list[tuple[int, int]]:
        """Return the spans of the fields at a path of field numbers."""
        spans = [(start, end)]
        for number in path:
            spans = [(a, b) for low, high in spans for kind, a, b in self.fields(low, high) if kind == number]
        return spans

    def numbers(self, start: int, end: int, *, limit: int) -> list[int]:
        """Return the varints of a packed field; WireError for more than `limit`."""
        found: list[int] = []
        while start < end:
            window, base = self.window(start)
            value, at = _varint(window, start - base)
            start = base + at
            found.append(value)
            if len(found) > limit:
                raise WireError(f"it has a list of more than {limit} numbers")
        return found

    def _piece(self, start: int, length: int) -> bytes:
        if self._file is None:
            return b""
        self._file.seek(start)
        return self._file.read(length)


@contextlib.contextmanager
def open_content(model: Path | bytes) -> Iterator[Content]:
    """Open the content of a file, or of bytes; the errors are those of `open_regular`, of type ArtifactError."""
    if isinstance(model, bytes):
        yield Content(model)
        return
    with open_regular(model, "artifact", ArtifactError) as file:
        yield Content(file)


def signed(value: int) -> int:
    """Convert a varint to the 64-bit integer that it encodes."""
    return value - (1 << 64) if value >> 63 else value


def _varint(window: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    try:
        if (byte := window[position]) < 0x80:
            return byte, position + 1
        while True:
            byte = window[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, position
            shift += 7
            if shift > 63:
                raise WireError("a number is longer than 64 bits")
    except IndexError as error:
        raise WireError("it is cut short") from error
