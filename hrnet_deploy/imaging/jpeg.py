"""The segments of a JPEG file up to its first scan."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_SCAN = 0xDA
# SOF0..15 without DHT, JPG and DAC, which share the range.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RSTn carry no length
_END = b"\xff\xd9"


@dataclass(frozen=True)
class JpegHeader:
    """Header of a JPEG file as far as it is there: size, first scan, and a feature that libjpeg-turbo does not read."""

    size_hw: tuple[int, int] | None
    scan: int | None
    unreadable: str | None

    def is_truncated(self, content: bytes) -> bool:
        """Decide whether the end marker is missing; a thumbnail before the first scan has one too."""
        return self.scan is None or content.find(_END, self.scan) < 0


def read_jpeg_header(content: bytes) -> JpegHeader:
    """Read size, first scan and unreadable features. Source: ITU T.81 B.2.2."""
    size_hw, unreadable = None, None
    for marker, position in _segments(content):
        if marker in _FRAMES and position + 10 <= len(content):
            precision, height, width, components = struct.unpack_from(">BHHB", content, position + 4)
            if size_hw is None:
                unreadable = _unreadable(marker, precision, components)
            size_hw = (height, width)
        if marker == _SCAN:
            return JpegHeader(size_hw, position, unreadable)
    return JpegHeader(size_hw, None, unreadable)


def _unreadable(marker: int, precision: int, components: int) -> str | None:
    if marker not in _DECODED_FRAMES:
        return "lossless or hierarchical frames"
    if precision != 8:
        return f"{precision}-bit samples"
    return None if components in {1, 3, 4} else f"{components} channels"


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and position of each segment, up to and including the first scan."""
    position = 2
    while position + 4 <= len(content):
        if content[position] != 0xFF:
            return
        marker = content[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _BARE:
            position += 2
            continue
        yield marker, position
        if marker == _SCAN:
            return
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
