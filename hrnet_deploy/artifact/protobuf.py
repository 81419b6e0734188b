"""The wire format of protocol buffers, read field by field from a file or from bytes.

A file is read in small pieces and not mapped: a mapped file that another process cuts would end this process.
Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hrnet_deploy.errors import ArtifactError
from hrnet_deploy.limits import GRAPH_TEXT_BYTES
from hrnet_deploy.system.regular_file import open_regular

SHORT_BYTES = 1 << 11
"""Bytes up to which all fields of a message are read at once."""

_WINDOW_BYTES = 1 << 13
_MAX_VARINT_BYTES = 10

Span = tuple[int, int, int]
"""Number of a field, start and end of its content."""
Part = tuple[int, bytes]
"""Number of a field and its content."""


class WireError(ArtifactError):
    """Content that is no protocol buffer, or one that is cut short."""


class Content:
    """Bytes of a message; the last piece that was read is kept.

    Attributes:
        size: number of bytes.
    """

    def __init__(self, source: bytes | IO[bytes]) -> None:
        """Wrap bytes, or an open file without a buffer of its own."""
        self._file = None if isinstance(source, bytes) else source
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
        try:
            return str(self._text(start, end), "utf-8")
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
            tag, first, after = _field(window, position - base)
            if base + after > end:
                raise WireError("a field reaches beyond its message")
            yield tag >> 3, base + first, base + after
            position = base + after

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

    def parts(self, start: int, end: int, wanted: frozenset[int]) -> list[Part]:
        """Return the fields of a message; of a long one, long fields of other numbers than `wanted` are empty."""
        if end - start <= SHORT_BYTES:
            return parts_of(self.read(start, end))
        return [
            (kind, self._text(first, last) if kind in wanted or last - first <= SHORT_BYTES else b"")
            for kind, first, last in self.fields(start, end)
        ]

    def _text(self, start: int, end: int) -> bytes:
        if end - start > GRAPH_TEXT_BYTES:
            raise WireError(f"it has a text of {end - start:,} bytes")
        return self.read(start, end)

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


def parts_of(message: bytes) -> list[Part]:
    """Return the fields of a message in memory, in half the time of `Content.fields`."""
    found: list[Part] = []
    position, end = 0, len(message)
    while position < end:
        # Most fields are texts with a tag and a length of one byte.
        if (tag := message[position]) & 0x87 == 2 and position + 1 < end and (length := message[position + 1]) < 0x80:
            first = position + 2
            position = first + length
        else:
            tag, first, position = _field(message, position)
        if position > end:
            raise WireError("a field reaches beyond its message")
        found.append((tag >> 3, message[first:position]))
    return found


def varint(content: bytes) -> int:
    """Return the signed number of a field; WireError for an empty one."""
    if len(content) == 1 and content[0] < 0x80:
        return content[0]
    value = _varint(content, 0)[0]
    return value - (1 << 64) if value >> 63 else value


def varints(packed: bytes, *, limit: int) -> list[int]:
    """Return the signed numbers of a packed field; WireError for more than `limit`."""
    if len(packed) == 1 and packed[0] < 0x80:
        return [packed[0]]
    found: list[int] = []
    position = 0
    while position < len(packed):
        value, position = _varint(packed, position)
        found.append(value - (1 << 64) if value >> 63 else value)
        if len(found) > limit:
            raise WireError(f"it has a list of more than {limit} numbers")
    return found


def _field(window: bytes, position: int) -> tuple[int, int, int]:
    """Return the tag of the field at a position, and the span of its content."""
    tag, first = _varint(window, position)
    wire = tag & 7
    if wire == 2:
        length, first = _varint(window, first)
        return tag, first, first + length
    if wire == 0:
        return tag, first, _varint(window, first)[1]
    if wire in {1, 5}:
        return tag, first, first + (8 if wire == 1 else 4)
    raise WireError(f"it has a field of wire type {wire}")


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
