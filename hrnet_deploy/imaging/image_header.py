"""The declared properties of an image file, read once, before a decoder allocates memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from hrnet_deploy.imaging.avif import AvifHeader, read_avif_header
from hrnet_deploy.imaging.bmp import BmpHeader, read_bmp_header
from hrnet_deploy.imaging.iso_boxes import brands
from hrnet_deploy.imaging.jpeg import JpegHeader, read_jpeg_header
from hrnet_deploy.imaging.jpeg2000 import J2K_SIGNATURE, JP2_SIGNATURE, Jpeg2000Header, read_jpeg2000_header
from hrnet_deploy.imaging.netpbm import NetpbmHeader, read_netpbm_header
from hrnet_deploy.imaging.tiff import TiffHeader, read_tiff_header

SUPPORTED = ("JPEG", "PNG", "WebP", "AVIF", "TIFF", "BMP", "GIF", "JPEG 2000", "PBM, PGM or PPM")
"""Formats that are decoded."""

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class SizeOnly:
    """Header of a format whose features are all read."""

    size_hw: tuple[int, int]
    unreadable: str | None = None


FormatHeader = SizeOnly | JpegHeader | AvifHeader | TiffHeader | BmpHeader | Jpeg2000Header | NetpbmHeader


@dataclass(frozen=True)
class ImageHeader:
    """Declared properties of an image file.

    Attributes:
        kind: format, one of `SUPPORTED`.
        size_hw: (height, width) in pixels, before any orientation; None where the header is cut or broken.
        is_truncated: whether a JPEG, PNG, WebP or TIFF file ends before its image; decoders fill the rest with gray.
        fields: header of the format; None where it is cut or broken.
    """

    kind: str
    size_hw: tuple[int, int] | None
    is_truncated: bool
    fields: FormatHeader | None


def read_header(content: bytes) -> ImageHeader | None:
    """Read the header of an image file; None for a format that is not supported."""
    kind = _format(content)
    if kind is None:
        return None
    try:
        fields: FormatHeader | None = _READERS[kind](content)
    except (struct.error, ValueError, IndexError):
        fields = None
    size_hw = fields.size_hw if fields is not None else None
    if size_hw is not None and min(size_hw) <= 0:
        size_hw = None
    return ImageHeader(kind, size_hw, _is_truncated(kind, content, fields), fields)


def _format(content: bytes) -> str | None:
    """Recognize one of the formats in `SUPPORTED` by the first bytes."""
    if content.startswith(_PNG):
        return "PNG"
    if content.startswith(b"\xff\xd8"):
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


def _is_truncated(kind: str, content: bytes, fields: FormatHeader | None) -> bool:
    if kind == "PNG":
        return content.rfind(b"IEND") < 0
    if kind == "WebP":
        return len(content) < 8 + int.from_bytes(content[4:8], "little")
    if isinstance(fields, JpegHeader):
        return fields.is_truncated(content)
    if kind == "TIFF":
        return not isinstance(fields, TiffHeader) or fields.is_truncated(content)
    return False


def _read_png(content: bytes) -> SizeOnly:
    """Read the size of a PNG. Source: ISO/IEC 15948 11.2.1."""
    width, height = struct.unpack_from(">II", content, 16)
    return SizeOnly((height, width))


def _read_gif(content: bytes) -> SizeOnly:
    """Read the size of a GIF. Source: GIF89a 18."""
    width, height = struct.unpack_from("<HH", content, 6)
    return SizeOnly((height, width))


def _read_webp(content: bytes) -> SizeOnly:
    """Read the size of a WebP. Source: RFC 9649."""
    kind = content[12:16]
    if kind == b"VP8X":
        return SizeOnly((1 + int.from_bytes(content[27:30], "little"), 1 + int.from_bytes(content[24:27], "little")))
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        return SizeOnly((1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)))
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return SizeOnly((height & 0x3FFF, width & 0x3FFF))
    raise ValueError(kind)


_READERS: dict[str, Callable[[bytes], FormatHeader]] = {
    "JPEG": read_jpeg_header,
    "PNG": _read_png,
    "WebP": _read_webp,
    "AVIF": read_avif_header,
    "TIFF": read_tiff_header,
    "BMP": read_bmp_header,
    "GIF": _read_gif,
    "JPEG 2000": read_jpeg2000_header,
    "PBM, PGM or PPM": read_netpbm_header,
}
