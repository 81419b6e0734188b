"""PBM, PGM and PPM: their header, and levels brought to 0..255."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})")
_PLAIN_BITMAP, _RAW_BITMAP = b"P1", b"P4"
_PLAIN_GREY, _PLAIN_COLOR = b"P2", b"P3"


@dataclass(frozen=True)
class NetpbmHeader:
    """Header of a PBM, PGM or PPM file.

    Attributes:
        magic: b"P1" to b"P6".
        size_hw: (height, width).
        max_value: the level that stands for white, 1..65535.
    """

    magic: bytes
    size_hw: tuple[int, int]
    max_value: int


def read_netpbm_header(content: bytes) -> NetpbmHeader:
    """Read magic number, size and greatest level.

    Args:
        content: the file.

    Returns:
        The header.

    Raises:
        ValueError: it is cut or broken.

    Source: pbm(5), pgm(5), ppm(5).
    """
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


def is_scaled(header: NetpbmHeader) -> bool:
    """Whether OpenCV already brings the levels to 0..255, as it does for bitmaps and for text of up to 8 bits."""
    text = header.magic in {_PLAIN_GREY, _PLAIN_COLOR}
    return header.magic in {_PLAIN_BITMAP, _RAW_BITMAP} or header.max_value == 255 or (text and header.max_value < 256)


def scaled(image: NDArray[np.generic], max_value: int) -> NDArray[np.uint8]:
    """Bring levels of 0..max_value to 0..255, rounded to the nearest."""
    levels = np.arange(max_value + 1, dtype=np.uint32)
    table = ((levels * 255 + max_value // 2) // max_value).astype(np.uint8)
    return np.asarray(table[np.minimum(np.asarray(image), max_value)], np.uint8)
