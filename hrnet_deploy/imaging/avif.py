"""The header of an AVIF file: size, orientation and cropping of its main image."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.imaging.header import Header
from hrnet_deploy.imaging.iso_boxes import boxes


def read_avif(content: bytes) -> Header:
    """Read the header; the size is the largest of any image in the file.

    Source: ISO/IEC 23008-12, 6.5 (ispe, irot, imir) and 9.3 (ipma); libavif, which reads the track of a file whose
    major brand is `avis`. A track has no orientation.
    """
    sizes: list[tuple[int, int]] = []
    turns, mirror, cropped = 0, None, False
    for kind, start, end in boxes(content, 0, len(content)):
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
    for kind, begin, stop in boxes(content, start, end):
        if kind == b"pitm":
            primary = struct.unpack_from(">I" if content[begin] else ">H", content, begin + 4)[0]
        elif kind == b"iprp":
            for name, at, to in boxes(content, begin, stop):
                if name == b"ipco":
                    # No property that is used is longer than 32 bytes.
                    properties += [(inner, content[a : min(b, a + 32)]) for inner, a, b in boxes(content, at, to)]
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
    for kind, begin, stop in boxes(content, start, end):
        if kind == b"trak":
            for name, _, to in boxes(content, begin, stop):
                if name == b"tkhd":
                    width, height = struct.unpack_from(">II", content, to - 8)
                    yield height >> 16, width >> 16
