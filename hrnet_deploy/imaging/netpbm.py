"""The header of a PBM, PGM or PPM file, and its levels scaled to 0..255."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})")
_PLAIN_BITMAP, _RAW_BITMAP = b"P1", b"P4"
_PLAIN_GRAY, _PLAIN_COLOR = b"P2", b"P3"


@dataclass(frozen=True)
class NetpbmHeader:
    """Header of a PBM, PGM or PPM file: b"P1" to b"P6", size, and the level of white, 1..65535."""

    magic: bytes
    size_hw: tuple[int, int]
    max_value: int
    unreadable: str | None = None

    @property
    def is_scaled(self) -> bool:
        """Whether OpenCV scales the levels to 0..255 itself: in bitmaps, and in text of up to 8 bits."""
        text = self.magic in {_PLAIN_GRAY, _PLAIN_COLOR}
        bitmap = self.magic in {_PLAIN_BITMAP, _RAW_BITMAP}
        return bitmap or self.max_value == 255 or (text and self.max_value < 256)


def read_netpbm_header(content: bytes) -> NetpbmHeader:
    """Read magic number, size and greatest level. Source: pbm(5), pgm(5), ppm(5)."""
    magic, place, numbers = content[:2], 2, []
    for _ in range(2 if magic in {_PLAIN_BITMAP, _RAW_BITMAP} else 3):
        found = _TOKEN.match(content, place)
        if found is None:
            raise ValueError("a number is missing in the header")
        numbers.append(int(found[1]))
        place = found.end()
    max_value = numbers[2] if len(numbers) == 3 else 1
    if not 1 <= max_value <= 65535:
        raise ValueError(f"greatest level {max_value}")
    return NetpbmHeader(magic, (numbers[1], numbers[0]), max_value)


def scaled(image: NDArray[np.generic], max_value: int) -> NDArray[np.uint8]:
    """Scale levels of 0..max_value to 0..255, rounded to the nearest."""
    levels = np.arange(max_value + 1, dtype=np.uint32)
    table = ((levels * 255 + max_value // 2) // max_value).astype(np.uint8)
    return np.asarray(table[np.minimum(np.asarray(image), max_value)], np.uint8)
