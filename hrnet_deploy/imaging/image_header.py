"""The header of an image file in any format, read once, before a decoder allocates memory."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping

from hrnet_deploy.imaging.bmp import read_bmp
from hrnet_deploy.imaging.header import Header
from hrnet_deploy.imaging.iso_images import brands, read_avif, read_jpeg2000
from hrnet_deploy.imaging.jpeg import read_jpeg
from hrnet_deploy.imaging.netpbm import read_netpbm
from hrnet_deploy.imaging.png import read_png
from hrnet_deploy.imaging.tiff import read_tiff

SUPPORTED = ("JPEG", "PNG", "WebP", "AVIF", "TIFF", "BMP", "GIF", "JPEG 2000", "PBM, PGM or PPM")
"""Formats that are decoded."""

_BYTES_PER_PIXEL = 8
"""Memory that OpenCV 5 takes for a pixel, as measured: twice its BGR pixels, or 8 bytes for WebP with alpha."""
_ISOLATED = frozenset({"AVIF", "GIF", "JPEG 2000"})
"""Formats whose decoders take memory or time that no header bounds: coded sizes, code tables, tiles and precincts."""
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"})
_UNSUPPORTED = {
    b"\x76\x2f\x31\x01": "an OpenEXR file of floating-point pixels",
    b"#?RADIANCE": "a Radiance HDR file of floating-point pixels",
    b"#?RGBE": "a Radiance HDR file of floating-point pixels",
    b"PF": "a PFM file of floating-point pixels",
    b"Pf": "a PFM file of floating-point pixels",
    b"P7": "a PAM file",
    b"\x59\xa6\x6a\x95": "a Sun raster file",
    b"\xff\x0a": "a JPEG XL file",
    b"\0\0\0\x0cJXL ": "a JPEG XL file",
    b"8BPS": "a Photoshop file",
    b"qoif": "a QOI file",
    b"DDS ": "a DDS file",
    b"\0\0\1\0": "an icon file",
    b"%PDF": "a PDF file",
    b"SIMPLE  =": "a FITS file",
    b"\x93NUMPY": "a NumPy file",
    b"PK\3\4": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML file, such as an SVG drawing",
    b"<!DOCTYPE": "a web page",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}


def read_header(content: bytes) -> Header | None:
    """Read the header of an image file; None for a format that is not supported."""
    kind = next((kind for kind, (start, _) in _FORMATS.items() if start.match(content)), None)
    if kind is None or (kind == "AVIF" and not brands(content) & _AVIF_BRANDS):
        return None
    try:
        header = _FORMATS[kind][1](content)
    except (struct.error, ValueError, IndexError):
        header = Header(size_hw=None, is_truncated=kind in {"PNG", "TIFF"})
    header.kind, header.isolated = kind, kind in _ISOLATED
    if header.size_hw is not None and min(header.size_hw) <= 0:
        header.size_hw = None
    if kind == "WebP" and len(content) < 8 + int.from_bytes(content[4:8], "little"):
        header.is_truncated = True
    if header.decode_bytes is None and header.size_hw is not None:
        header.decode_bytes = _BYTES_PER_PIXEL * header.size_hw[0] * header.size_hw[1]
    return header


def unsupported_format(content: bytes) -> str | None:
    """Name the format of a file that is not read, such as "a PDF file"; None for an unknown format."""
    if brands(content) & _HEIF_BRANDS:
        return "an HEIC file"
    return next((name for magic, name in _UNSUPPORTED.items() if content.startswith(magic)), None)


def _read_gif(content: bytes) -> Header:
    """Read width and height. Source: GIF89a 18."""
    width, height = struct.unpack_from("<HH", content, 6)
    return Header(size_hw=(height, width))


def _read_webp(content: bytes) -> Header:
    """Read the size of a WebP. Source: RFC 9649."""
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(content[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    else:
        raise ValueError(kind)
    return Header(size_hw=(height, width))


_FORMATS: Mapping[str, tuple[re.Pattern[bytes], Callable[[bytes], Header]]] = {
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), read_png),
    "JPEG": (re.compile(rb"\xff\xd8"), read_jpeg),
    "WebP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _read_webp),
    "TIFF": (re.compile(rb"II[*+]\0|MM\0[*+]"), read_tiff),
    "JPEG 2000": (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), read_jpeg2000),
    "GIF": (re.compile(rb"GIF8[79]a"), _read_gif),
    "BMP": (re.compile(rb"BM"), read_bmp),
    "PBM, PGM or PPM": (re.compile(rb"P[1-6]\s"), read_netpbm),
    "AVIF": (re.compile(rb".{4}ftyp", re.DOTALL), read_avif),
}
"""First bytes and reader of each format; AVIF is last, because its first bytes are any."""
