"""What an image file says about itself, read before a decoder allocates anything."""

from __future__ import annotations

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {
    0xC4,
    0xC8,
    0xCC,
}  # SOF0..15 less DHT, JPG and DAC, which share the range
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RSTn carry no length


def declared_hw(content: bytes) -> tuple[int, int] | None:
    """Size a PNG, JPEG, BMP, GIF or WebP file declares.

    Args:
        content: the file.

    Returns:
        (height, width) in pixels; None for another format, or where the header is cut or broken.

    Source: ISO/IEC 15948 11.2.1 (PNG); ITU T.81 B.2.2 (JPEG); BITMAPINFOHEADER; GIF89a 18; RFC 9649 (WebP).
    """
    try:
        if content.startswith(_PNG):
            width, height = struct.unpack_from(">II", content, 16)
        elif content.startswith(_JPEG):
            return _jpeg_layout(content)[0]
        elif content.startswith(b"BM"):
            core = struct.unpack_from("<I", content, 14)[0] == 12
            width, height = struct.unpack_from("<HH" if core else "<ii", content, 18)
        elif content.startswith((b"GIF87a", b"GIF89a")):
            width, height = struct.unpack_from("<HH", content, 6)
        elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            width, height = _webp_wh(content)
        else:
            return None
    except (struct.error, ValueError):
        return None
    return abs(height), abs(width)  # a BMP stored top-down has a negative height


def is_truncated(content: bytes) -> bool:
    """Whether a JPEG, PNG or WebP file ends before its image does; False for other formats.

    Args:
        content: the file. Decoders fill what is missing with grey or black, and say so on stderr at most.

    Returns:
        True where the end marker is missing or the declared length is not reached.
    """
    if content.startswith(_JPEG):
        # An embedded thumbnail has an end marker too, so only what follows the first scan counts.
        scan = _jpeg_layout(content)[1]
        return scan is None or content.find(_JPEG_END, scan) < 0
    if content.startswith(_PNG):
        return content.rfind(b"IEND") < 0
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return len(content) < 8 + int.from_bytes(content[4:8], "little")
    return False


def _jpeg_layout(content: bytes) -> tuple[tuple[int, int] | None, int | None]:
    """(height, width) and where the first scan starts, as far as they are there."""
    size_hw, position = None, 2
    while position + 4 <= len(content):
        if content[position] != 0xFF:
            break
        marker = content[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _JPEG_BARE:
            position += 2
            continue
        if marker in _JPEG_FRAMES and position + 9 <= len(content):
            height, width = struct.unpack_from(">HH", content, position + 5)
            size_hw = (height, width)
        if marker == _JPEG_SCAN:
            return size_hw, position
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return size_hw, None


def _webp_wh(content: bytes) -> tuple[int, int]:
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError(kind)
