"""The headers of AVIF and JPEG 2000 files, which consist of the boxes of ISO base media files."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.imaging.header import Header

_CODESTREAM = b"\xff\x4f\xff\x51"
_SRGB, _GREYSCALE = 16, 17


def brands(content: bytes) -> set[bytes]:
    """Return the major and compatible brands of an ISO base media file; none for other files."""
    if content[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(content[:4], "big"), len(content))
    return {content[8:12], *(content[at : at + 4] for at in range(16, end, 4))}


def _boxes(content: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
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


def read_avif(content: bytes) -> Header:
    """Read the header; the size is the largest of any image in the file.

    Source: ISO/IEC 23008-12, 6.5 (ispe, irot, imir) and 9.3 (ipma); libavif, which reads the track of a file whose
    major brand is `avis`. A track has no orientation.
    """
    sizes: list[tuple[int, int]] = []
    turns, mirror, cropped = 0, None, False
    for kind, start, end in _boxes(content, 0, len(content)):
        if kind == b"meta":
            properties, wanted = _properties(content, start + 4, end)
            sizes += [struct.unpack_from(">II", body, 4)[::-1] for name, body in properties if name == b"ispe"]
            for name, body in (properties[index - 1] for index in wanted if 0 < index <= len(properties)):
                turns = body[0] & 3 if name == b"irot" else turns
                mirror = body[0] & 1 if name == b"imir" else mirror
                cropped = cropped or name == b"clap"
        elif kind == b"moov":
            sizes += list(_track_sizes(content, start, end))
    if not sizes:
        raise ValueError("AVIF without a size")
    if content[8:12] == b"avis":
        turns, mirror, cropped = 0, None, False
    return Header(
        size_hw=max(sizes, key=lambda hw: hw[0] * hw[1]),
        unreadable="a clean aperture (cropping)" if cropped else None,
        flags=cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,  # its own boxes count, not EXIF
        finish=functools.partial(_turned, quarter_turns=turns, mirror=mirror),
    )


def _turned(image: NDArray[Any], quarter_turns: int, mirror: int | None) -> NDArray[Any]:
    """Rotate by 90 degrees anticlockwise, then mirror an axis, which OpenCV does not do."""
    image = np.rot90(image, quarter_turns)
    return image if mirror is None else np.flip(image, mirror)


def _properties(content: bytes, start: int, end: int) -> tuple[list[tuple[bytes, bytes]], list[int]]:
    """Read all item properties, and the numbers (from 1) of those of the primary item."""
    primary, properties, wanted = None, [], []
    for kind, begin, stop in _boxes(content, start, end):
        if kind == b"pitm":
            primary = struct.unpack_from(">I" if content[begin] else ">H", content, begin + 4)[0]
        elif kind == b"iprp":
            for name, at, to in _boxes(content, begin, stop):
                if name == b"ipco":
                    # No property that is used is longer than 32 bytes.
                    properties += [(inner, content[a : min(b, a + 32)]) for inner, a, b in _boxes(content, at, to)]
                elif name == b"ipma":
                    wanted += _associations(content, at, primary)
    return properties, wanted


def _associations(content: bytes, at: int, item: int | None) -> list[int]:
    """Read the property numbers that an `ipma` box gives to an item."""
    version, wide = content[at], content[at + 3] & 1
    entries, place, found = struct.unpack_from(">I", content, at + 4)[0], at + 8, []
    for _ in range(entries):
        number = struct.unpack_from(">I" if version else ">H", content, place)[0]
        place += 4 if version else 2
        count = content[place]
        place += 1
        for _ in range(count):
            index = struct.unpack_from(">H", content, place)[0] & 0x7FFF if wide else content[place] & 0x7F
            place += 2 if wide else 1
            if number == item:
                found.append(index)
    return found


def _track_sizes(content: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (height, width) of each track: the last two numbers of its header, 16.16 fixed point."""
    for kind, begin, stop in _boxes(content, start, end):
        if kind == b"trak":
            for name, _, to in _boxes(content, begin, stop):
                if name == b"tkhd":
                    width, height = struct.unpack_from(">II", content, to - 8)
                    yield height >> 16, width >> 16


def read_jpeg2000(content: bytes) -> Header:
    """Read the header of a JP2 file or a bare codestream. Source: ISO/IEC 15444-1, A.5.1 (SIZ) and I.5.3 (jp2h)."""
    start, color, palette = 0, None, False
    if not content.startswith(_CODESTREAM):
        start = -1
        for kind, begin, end in _boxes(content, 0, len(content)):
            if kind == b"jp2h":
                for name, at, _ in _boxes(content, begin, end):
                    if name == b"colr" and content[at] == 1 and color is None:
                        color = struct.unpack_from(">I", content, at + 3)[0]
                    palette = palette or name == b"pclr"
            elif kind == b"jp2c":
                start = begin
                break
    if start < 0 or content[start : start + 4] != _CODESTREAM:
        raise ValueError("JPEG 2000 without a codestream")
    right, bottom, left, top = struct.unpack_from(">4I", content, start + 8)
    count = struct.unpack_from(">H", content, start + 40)[0]
    parts = [struct.unpack_from("3B", content, start + 42 + 3 * index) for index in range(min(count, 8))]
    unreadable = "a palette" if palette else _unreadable_jpeg2000(count, parts, color, bare=start == 0)
    # OpenCV takes a bare codestream, which names no color space, for color.
    flags = cv2.IMREAD_UNCHANGED if count == 1 else cv2.IMREAD_COLOR
    return Header(size_hw=(bottom - top, right - left), unreadable=unreadable, flags=flags)


def _unreadable_jpeg2000(count: int, parts: list[tuple[int, ...]], color: int | None, *, bare: bool) -> str | None:
    depths = {depth for depth, _, _ in parts}
    if any(depth & 0x80 for depth in depths):
        return "signed samples"
    if depths not in ({7}, {15}):
        return f"{'/'.join(str((depth & 0x7F) + 1) for depth in sorted(depths))}-bit samples"
    if any((dx, dy) != (1, 1) for _, dx, dy in parts):
        return "subsampled channels"
    if color not in {None, _SRGB, _GREYSCALE}:
        return f"color space {color}"
    if count not in {1, 3, 4} and (count, color, bare) != (2, _GREYSCALE, False):
        return f"{count} channels"
    return None
