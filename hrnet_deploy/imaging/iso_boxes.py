"""Boxes of ISO base media files, which AVIF and JPEG 2000 consist of."""

from __future__ import annotations

import struct
from collections.abc import Iterator


def brands(content: bytes) -> set[bytes]:
    """Return the major and compatible brands of an ISO base media file; none for other files."""
    if content[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(content[:4], "big"), len(content))
    return {content[8:12], *(content[at : at + 4] for at in range(16, end, 4))}


def boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the payload of each box between two positions."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, start)
        header = 8
        if size == 1:
            size, header = struct.unpack_from(">Q", content, start + 8)[0], 16
        stop = end if size == 0 else start + size
        if size and size < header:
            raise ValueError(f"box {kind!r} of {size} bytes")
        yield kind, start + header, min(stop, end)
        start = stop
