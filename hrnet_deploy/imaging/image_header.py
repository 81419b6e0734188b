"""What an image file says about itself, read before a decoder allocates anything."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hrnet_deploy.imaging import bmp, tiff
from hrnet_deploy.imaging.boxes import J2K_SIGNATURE, JP2_SIGNATURE, brands, read_avif_header, read_jpeg2000_header
from hrnet_deploy.imaging.netpbm import read_netpbm_header

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


READ = ("JPEG", "PNG", "WebP", "AVIF", "TIFF", "BMP", "GIF", "JPEG 2000", "PBM, PGM or PPM")
"""Formats that are decoded."""


def file_kind(content: bytes) -> str | None:
    """Which of the formats in `READ` a file has, by its first bytes; None for any other."""
    if content.startswith(_PNG):
        return "PNG"
    if content.startswith(_JPEG):
        return "JPEG"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WebP"
    if content[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        return "TIFF"
    if content.startswith((JP2_SIGNATURE, J2K_SIGNATURE)):
        return "JPEG 2000"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if content.startswith(b"BM"):
        return "BMP"
    if content[:1] == b"P" and content[1:2] in b"123456" and content[2:3].isspace():
        return "PBM, PGM or PPM"
    return "AVIF" if brands(content) & {b"avif", b"avis"} else None


def declared_hw(content: bytes) -> tuple[int, int] | None:
    """Size that a file of one of the formats in `READ` declares.

    Args:
        content: the file.

    Returns:
        (height, width) in pixels, before any orientation is applied; None for another format, or where the header is
        cut or broken.

    Source: ISO/IEC 15948 11.2.1 (PNG); ITU T.81 B.2.2 (JPEG); GIF89a 18; RFC 9649 (WebP); for the others see `imaging`.
    """
    try:
        size_hw = _size_hw(content)
    except (struct.error, ValueError, IndexError):
        return None
    return size_hw if size_hw is not None and min(size_hw) > 0 else None


def _size_hw(content: bytes) -> tuple[int, int] | None:
    kind = file_kind(content)
    if kind == "JPEG":
        return _jpeg_layout(content)[0]
    if kind == "TIFF":
        return tiff.read_tiff_header(content).size_hw
    if kind == "AVIF":
        return read_avif_header(content).size_hw
    if kind == "JPEG 2000":
        return read_jpeg2000_header(content).size_hw
    if kind == "PBM, PGM or PPM":
        return read_netpbm_header(content).size_hw
    if kind == "BMP":
        return bmp.size_hw(content)
    if kind == "PNG":
        width, height = struct.unpack_from(">II", content, 16)
    elif kind == "GIF":
        width, height = struct.unpack_from("<HH", content, 6)
    elif kind == "WebP":
        width, height = _webp_wh(content)
    else:
        return None
    return height, width


def unreadable_feature(content: bytes) -> str | None:
    """What of a file's format is not read, such as "16-bit CMYK"; None where it is read as the format says.

    Args:
        content: a file whose size `declared_hw` could read.
    """
    kind = file_kind(content)
    if kind == "TIFF":
        return tiff.unreadable_feature(tiff.read_tiff_header(content))
    if kind == "JPEG 2000":
        return read_jpeg2000_header(content).feature
    if kind == "AVIF":
        return "a clean aperture (cropping)" if read_avif_header(content).cropped else None
    if kind == "BMP":
        return bmp.unreadable_feature(content)
    return _jpeg_feature(content) if kind == "JPEG" else None


def _jpeg_feature(content: bytes) -> str | None:
    """Frames of 12 bits, without loss, or of two channels: libjpeg-turbo's 8-bit interface reads none of them."""
    for marker, position in _jpeg_segments(content):
        if marker in _JPEG_FRAMES:
            precision, components = content[position + 4], content[position + 9]
            if marker not in {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}:
                return "lossless or hierarchical frames"
            if precision != 8:
                return f"{precision}-bit samples"
            return None if components in {1, 3, 4} else f"{components} channels"
    return None


def is_truncated(content: bytes) -> bool:
    """Whether a JPEG, PNG, WebP or TIFF file ends before its image does; False for other formats.

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
    if file_kind(content) == "TIFF":
        try:
            return tiff.is_cut(tiff.read_tiff_header(content), len(content))
        except ValueError:
            return True
    return False


def _jpeg_layout(content: bytes) -> tuple[tuple[int, int] | None, int | None]:
    """(height, width) and where the first scan starts, as far as they are there."""
    size_hw = None
    for marker, position in _jpeg_segments(content):
        if marker in _JPEG_FRAMES and position + 9 <= len(content):
            height, width = struct.unpack_from(">HH", content, position + 5)
            size_hw = (height, width)
        if marker == _JPEG_SCAN:
            return size_hw, position
    return size_hw, None


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment, up to and with the first scan."""
    position = 2
    while position + 4 <= len(content):
        if content[position] != 0xFF:
            return
        marker = content[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _JPEG_BARE:
            position += 2
            continue
        yield marker, position
        if marker == _JPEG_SCAN:
            return
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")


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
