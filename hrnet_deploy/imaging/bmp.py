"""The header of a BMP file, and the levels of its 16-bit pixels."""

from __future__ import annotations

import functools
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.imaging.header import Header

_CORE_HEADER, _BITFIELDS = 12, 3
_SCALED_BYTES = 10
"""Memory for each pixel where levels are scaled: the pixels, one channel of each kind, and the result."""
_MASKS_565, _MASKS_555, _MASKS_888 = (0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F), (0xFF0000, 0xFF00, 0xFF)


def read_bmp(content: bytes) -> Header:
    """Read the header. Source: BITMAPCOREHEADER, BITMAPINFOHEADER, BITMAPV4HEADER."""
    if struct.unpack_from("<I", content, 14)[0] == _CORE_HEADER:
        width, height = struct.unpack_from("<HH", content, 18)
        return Header(size_hw=(height, width))
    width, height = struct.unpack_from("<ii", content, 18)
    bits, compression = struct.unpack_from("<HI", content, 28) if len(content) >= 34 else (0, 0)
    masks = struct.unpack_from("<3I", content, 54) if compression == _BITFIELDS else None
    size_hw = (abs(height), abs(width))  # a negative height: stored top-down
    unreadable = None
    if compression > _BITFIELDS:
        unreadable = f"compression {compression}"
    elif masks is not None and masks not in ((_MASKS_565, _MASKS_555) if bits == 16 else (_MASKS_888,)):
        unreadable = f"bit masks {'/'.join(f'{mask:x}' for mask in masks)}"
    # Without run lengths (1, 2), all rows are there, each a multiple of 32 bits.
    row_bytes = (abs(width) * bits + 31) // 32 * 4
    is_truncated = compression in {0, _BITFIELDS} and row_bytes * abs(height) > len(content)
    if bits != 16:
        return Header(size_hw=size_hw, unreadable=unreadable, is_truncated=is_truncated)
    return Header(
        size_hw=size_hw,
        unreadable=unreadable,
        is_truncated=is_truncated,
        decode_bytes=_SCALED_BYTES * abs(width) * abs(height),
        finish=functools.partial(_full_range, depths=(5, 6, 5) if masks == _MASKS_565 else (5, 5, 5)),
    )


def _full_range(image: NDArray[Any], depths: tuple[int, ...]) -> NDArray[np.uint8]:
    """Scale levels of 5 or 6 bits, which OpenCV shifts up, to 0..255."""
    levels = np.arange(256, dtype=np.uint32)
    tables = [((levels >> (8 - depth)) * 255 // (2**depth - 1)).astype(np.uint8) for depth in depths]
    return np.dstack([table[image[..., channel]] for channel, table in enumerate(tables)])
