"""The header of a BMP file, and the levels of 16-bit pixels."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_CORE_HEADER, _BITFIELDS = 12, 3
_MASKS_565, _MASKS_555, _MASKS_888 = (0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F), (0xFF0000, 0xFF00, 0xFF)


def size_hw(content: bytes) -> tuple[int, int]:
    """(height, width); a file stored top-down has a negative height. Source: BITMAPCOREHEADER, BITMAPINFOHEADER."""
    core = struct.unpack_from("<I", content, 14)[0] == _CORE_HEADER
    width, height = struct.unpack_from("<HH" if core else "<ii", content, 18)
    return abs(height), abs(width)


def unreadable_feature(content: bytes) -> str | None:
    """What of a BMP is not read, in words for an error; None where it is read right."""
    if struct.unpack_from("<I", content, 14)[0] == _CORE_HEADER:
        return None
    bits, compression = struct.unpack_from("<HI", content, 28)
    if compression > _BITFIELDS:
        return f"compression {compression}"
    masks = _masks(content)
    if masks is not None and masks not in ((_MASKS_565, _MASKS_555) if bits == 16 else (_MASKS_888,)):
        return f"bit masks {'/'.join(f'{mask:x}' for mask in masks)}"
    return None


def with_full_range(image: NDArray[np.uint8], content: bytes) -> NDArray[np.uint8]:
    """Bring the 5 or 6 bits of 16-bit pixels, which OpenCV shifts up, to 0..255; other files stay as they are."""
    core = struct.unpack_from("<I", content, 14)[0] == _CORE_HEADER
    if core or struct.unpack_from("<H", content, 28)[0] != 16:
        return image
    bits = (5, 6, 5) if _masks(content) == _MASKS_565 else (5, 5, 5)
    levels = np.arange(256, dtype=np.uint32)
    tables = [((levels >> (8 - depth)) * 255 // (2**depth - 1)).astype(np.uint8) for depth in bits]
    return np.dstack([table[image[..., channel]] for channel, table in enumerate(tables)])


def _masks(content: bytes) -> tuple[int, ...] | None:
    """Bit masks of red, green and blue; None where the file has none. Source: BITMAPV4HEADER."""
    return struct.unpack_from("<3I", content, 54) if struct.unpack_from("<I", content, 30)[0] == _BITFIELDS else None
