"""The header of a JPEG 2000 file, and its features that are not read."""

from __future__ import annotations

import struct

import cv2

from hrnet_deploy.imaging.header import Header
from hrnet_deploy.imaging.iso_boxes import boxes

_CODESTREAM = b"\xff\x4f\xff\x51"
_SRGB, _GREYSCALE = 16, 17


def read_jpeg2000(content: bytes) -> Header:
    """Read the header of a JP2 file or a bare codestream. Source: ISO/IEC 15444-1, A.5.1 (SIZ) and I.5.3 (jp2h)."""
    start, color, palette = 0, None, False
    if not content.startswith(_CODESTREAM):
        start = -1
        for kind, begin, end in boxes(content, 0, len(content)):
            if kind == b"jp2h":
                for name, at, _ in boxes(content, begin, end):
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
    unreadable = "a palette" if palette else _unreadable(count, parts, color, bare=start == 0)
    # OpenCV takes a bare codestream, which names no color space, for color.
    flags = cv2.IMREAD_UNCHANGED if count == 1 else cv2.IMREAD_COLOR
    return Header(size_hw=(bottom - top, right - left), unreadable=unreadable, flags=flags)


def _unreadable(count: int, parts: list[tuple[int, ...]], color: int | None, *, bare: bool) -> str | None:
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
