"""Label images: the stored numbers of a PNG, not the colors that show them."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.decode_image import check_file, decode_native
from hrnet_deploy.system import native_stderr

_GRAY, _COLOR, _PALETTE, _GRAY_ALPHA = 0, 2, 3, 4
_NAMES = {_COLOR: "RGB colors", _GRAY_ALPHA: "gray with alpha", 6: "RGB colors with alpha"}
_SIGNATURE_BYTES, _HEADER_BYTES = 8, 25


def read_label_values(content: bytes, what: str) -> NDArray[Any]:
    """Read the number of each pixel of a PNG: palette index or gray level, uint8 or uint16 (H, W).

    ImageError: no PNG, cut short, damaged, too large, or a color image; `what` names it.
    """
    kind = check_file(content, what).kind
    if kind != "PNG":
        raise ImageError(f"{what} must be a PNG, got {kind}, whose numbers may have changed. Save it again as PNG.")
    depth, color = content[24], content[25]
    if color not in {_GRAY, _PALETTE}:
        raise ImageError(
            f"{what} must have one channel of class ids, got {_NAMES.get(color, f'color type {color}')}: colors are no"
            f" ids. {_advice(content)}"
        )
    values = decode_native(_as_gray(content), what, cv2.IMREAD_UNCHANGED)
    if values.ndim != 2:
        raise ImageError(f"{what} cannot be decoded: a damaged PNG. Fetch it again.")
    # A decoder spreads 1, 2 and 4 bits over 0..255.
    return np.asarray(values // (255 // (2**depth - 1)) if depth < 8 else values)


def _as_gray(content: bytes) -> bytes:
    """Rewrite a PNG as gray levels, without all that could change the numbers. Source: ISO/IEC 15948 5.3."""
    header = content[_SIGNATURE_BYTES + 8 : _HEADER_BYTES] + bytes([_GRAY]) + content[26:29]
    parts = [content[:_SIGNATURE_BYTES], _chunk(b"IHDR", header)]
    place = _SIGNATURE_BYTES
    while place + 8 <= len(content):
        size, name = struct.unpack_from(">I4s", content, place)
        if name == b"IDAT":
            parts.append(_chunk(name, content[place + 8 : place + 8 + size]))
        place += 12 + size
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _advice(content: bytes) -> str:
    """Advise on a mask of colors: one whose channels are equal is gray."""
    image, _ = native_stderr.watched(lambda: cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))
    if image is not None and (image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all():
        return "Its channels are equal: save one of them (Pillow: convert('L'))."
    return "Save class indices (for Cityscapes use the labelIds or labelTrainIds files)."
