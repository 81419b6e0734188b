"""The header of a JPEG file: its segments up to the first scan."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from hrnet_deploy.imaging.header import Header
from hrnet_deploy.limits import IMAGE_PARTS, JPEG_SCAN_PIXELS, JPEG_SCANS

_SCAN = 0xDA
# SOF0..15 without DHT, JPG and DAC, which share the range.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RSTn carry no length
_FIRST_ARITHMETIC = 0xC9
_END, _SCAN_MARKER = b"\xff\xd9", b"\xff\xda"
_NO_FILL = re.compile(rb"[^\xff]")
_BYTES_PER_PIXEL = 6
"""Memory that OpenCV 5 takes for a pixel: twice its BGR pixels, as measured."""


def read_jpeg(content: bytes) -> Header:
    """Read size, end, and features that libjpeg-turbo does not read. Source: ITU T.81 B.2.2 and B.2.3."""
    frame: _Frame | None = None
    unreadable, is_truncated, decode_bytes = None, True, None
    for marker, position in _segments(content):
        if marker in _FRAMES and position + 10 <= len(content):
            first, frame = frame is None, _Frame.read(content, position)
            unreadable = frame.unreadable if first else unreadable
        if marker == _SCAN and frame is not None:  # a thumbnail before the first scan has an end marker, too
            is_truncated = content.find(_END, position) < 0 or not frame.fits(8 * len(content))
            decode_bytes = _BYTES_PER_PIXEL * frame.width * frame.height
            if frame.is_progressive or content[position + 4] != frame.components:
                scans = content.count(_SCAN_MARKER, position)
                decode_bytes += frame.coefficient_bytes
                if scans > JPEG_SCANS or scans * frame.width * frame.height > JPEG_SCAN_PIXELS:
                    unreadable = unreadable or f"{scans} scans"
    size_hw = None if frame is None else (frame.height, frame.width)
    return Header(size_hw=size_hw, unreadable=unreadable, is_truncated=is_truncated, decode_bytes=decode_bytes)


class _Frame(NamedTuple):
    """A frame header."""

    marker: int
    precision: int
    height: int
    width: int
    components: int
    sampling: bytes

    @classmethod
    def read(cls, content: bytes, position: int) -> _Frame:
        """Read the header after a marker."""
        precision, height, width, components = struct.unpack_from(">BHHB", content, position + 4)
        sampling = content[position + 11 : position + 10 + 3 * min(components, 4) : 3]
        return cls(content[position + 1], precision, height, width, components, sampling)

    @property
    def unreadable(self) -> str | None:
        """What libjpeg-turbo does not read."""
        if self.marker not in _DECODED_FRAMES:
            return "lossless or hierarchical frames"
        if self.precision != 8:
            return f"{self.precision}-bit samples"
        return None if self.components in {1, 3, 4} else f"{self.components} channels"

    @property
    def is_progressive(self) -> bool:
        """Whether several scans give each coefficient."""
        return self.marker in {0xC2, 0xCA}

    @property
    def blocks(self) -> int:
        """Number of blocks of 8x8 samples. Source: ITU T.81 A.1.1 and A.2."""
        factors = [(max(1, byte >> 4), max(1, byte & 15)) for byte in self.sampling]
        most_h, most_v = (max((pair[place] for pair in factors), default=1) for place in (0, 1))
        return sum(
            -(-self.width * across // (8 * most_h)) * -(-self.height * down // (8 * most_v)) for across, down in factors
        )

    def fits(self, bits: int) -> bool:
        """Return whether the shortest complete image fits: one bit of each block, except for arithmetic coding."""
        most = len(self.sampling) * -(-self.width // 8) * -(-self.height // 8)  # in a tenth of the time of `blocks`
        return most <= bits or self.marker >= _FIRST_ARITHMETIC or self.blocks <= bits

    @property
    def coefficient_bytes(self) -> int:
        """Memory of all coefficients, which libjpeg-turbo keeps where one scan does not complete a block."""
        return 2 * 64 * self.blocks


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and position of each segment, up to and including the first scan."""
    position = 2
    for _ in range(IMAGE_PARTS):
        if position + 4 > len(content) or content[position] != 0xFF:
            return
        marker = content[position + 1]
        if marker == 0xFF:  # fill bytes
            found = _NO_FILL.search(content, position)
            position = len(content) if found is None else found.start() - 1
        elif marker in _BARE:
            position += 2
        else:
            yield marker, position
            if marker == _SCAN:
                return
            position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    raise ValueError(f"more than {IMAGE_PARTS} segments")
