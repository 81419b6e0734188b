"""Names of file formats that are not read."""

from __future__ import annotations

from hrnet_deploy.imaging.iso_boxes import brands

_NAMES = {
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
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"})


def unsupported_format(content: bytes) -> str | None:
    """Name the format of a file that is not read, such as "a PDF file"; None for an unknown format."""
    if brands(content) & _HEIF_BRANDS:
        return "an HEIC file"
    return next((name for magic, name in _NAMES.items() if content.startswith(magic)), None)
