"""The header of a JPEG file: its segments up to the first scan."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hrnet_deploy.imaging.header import Header

_SCAN = 0xDA
# SOF0..15 without DHT, JPG and DAC, which share the range.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RSTn carry no length
_END = b"\xff\xd9"


def read_jpeg(content: bytes) -> Header:
    """Read size, end, and features that libjpeg-turbo does not read. Source: ITU T.81 B.2.2."""
    size_hw, unreadable, is_truncated = None, None, True
    for marker, position in _segments(content):
        if marker in _FRAMES and position + 10 <= len(content):
            precision, height, width, components = struct.unpack_from(">BHHB", content, position + 4)
            if size_hw is None:
                unreadable = _unreadable(marker, precision, components)
            size_hw = (height, width)
        if marker == _SCAN:  # a thumbnail before the first scan has an end marker, too
            is_truncated = content.find(_END, position) < 0
    return Header(size_hw=size_hw, unreadable=unreadable, is_truncated=is_truncated)


def _unreadable(marker: int, precision: int, components: int) -> str | None:
    if marker not in _DECODED_FRAMES:
        return "lossless or hierarchical frames"
    if precision != 8:
        return f"{precision}-bit samples"
    return None if components in {1, 3, 4} else f"{components} channels"


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and position of each segment, up to and including the first scan."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _BARE:
            position += 2
        else:
            yield marker, position
            if marker == _SCAN:
                return
            position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
