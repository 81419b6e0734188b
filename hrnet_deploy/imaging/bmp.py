"""The header of a BMP file, and the levels of its 16-bit pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CORE_HEADER, _BITFIELDS = 12, 3
_MASKS_565, _MASKS_555, _MASKS_888 = (0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F), (0xFF0000, 0xFF00, 0xFF)


@dataclass(frozen=True)
class BmpHeader:
    """Header of a BMP file.

    Attributes:
        size_hw: (height, width).
        bits: per pixel; 0 for the old core header, whose pixels need no care.
        compression: number of the compression.
        masks: bit masks of red, green and blue; None where the file has none.
    """

    size_hw: tuple[int, int]
    bits: int
    compression: int
    masks: tuple[int, ...] | None

    @property
    def unreadable(self) -> str | None:
        """Feature that is not read, in words for an error; None where there is none."""
        if self.compression > _BITFIELDS:
            return f"compression {self.compression}"
        if self.masks is not None and self.masks not in (
            (_MASKS_565, _MASKS_555) if self.bits == 16 else (_MASKS_888,)
        ):
            return f"bit masks {'/'.join(f'{mask:x}' for mask in self.masks)}"
        return None


def read_bmp_header(content: bytes) -> BmpHeader:
    """Read the header. Source: BITMAPCOREHEADER, BITMAPINFOHEADER, BITMAPV4HEADER."""
    if struct.unpack_from("<I", content, 14)[0] == _CORE_HEADER:
        width, height = struct.unpack_from("<HH", content, 18)
        return BmpHeader((height, width), 0, 0, None)
    width, height = struct.unpack_from("<ii", content, 18)
    bits, compression = struct.unpack_from("<HI", content, 28) if len(content) >= 34 else (0, 0)
    masks = struct.unpack_from("<3I", content, 54) if compression == _BITFIELDS else None
    return BmpHeader((abs(height), abs(width)), bits, compression, masks)  # a negative height: stored top-down


def with_full_range(image: NDArray[np.uint8], header: BmpHeader) -> NDArray[np.uint8]:
    """Scale the 5 or 6 bits of 16-bit pixels, which OpenCV shifts up, to 0..255; other images stay as they are."""
    if header.bits != 16:
        return image
    bits = (5, 6, 5) if header.masks == _MASKS_565 else (5, 5, 5)
    levels = np.arange(256, dtype=np.uint32)
    tables = [((levels >> (8 - depth)) * 255 // (2**depth - 1)).astype(np.uint8) for depth in bits]
    return np.dstack([table[image[..., channel]] for channel, table in enumerate(tables)])
