"""The header of a PBM, PGM or PPM file, and its levels scaled to 0..255."""

from __future__ import annotations

import functools
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.imaging.header import Header

_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})")
_BITMAPS = frozenset({b"P1", b"P4"})
_TEXTS = frozenset({b"P2", b"P3"})
_COLORS = frozenset({b"P3", b"P6"})
_SCALED_BYTES = 10
"""Memory for each pixel and each byte of its samples: OpenCV's pixels twice, their copy and the result."""


def read_netpbm(content: bytes) -> Header:
    """Read size and level of white, 1..65535. Source: pbm(5), pgm(5), ppm(5)."""
    magic, place, numbers = content[:2], 2, []
    for _ in range(2 if magic in _BITMAPS else 3):
        found = _TOKEN.match(content, place)
        if found is None:
            raise ValueError("a number is missing in the header")
        numbers.append(int(found[1]))
        place = found.end()
    width, height, *white = numbers
    max_value = white[0] if white else 255
    if not 1 <= max_value <= 65535:
        raise ValueError(f"greatest level {max_value}")
    is_truncated = _least_bytes(magic, width, height, max_value) > len(content) - place
    # OpenCV scales bitmaps and text of up to 8 bits itself.
    if max_value == 255 or (magic in _TEXTS and max_value < 256):
        return Header(size_hw=(height, width), is_truncated=is_truncated)
    finish = functools.partial(_scaled, max_value=max_value)
    return Header(
        size_hw=(height, width),
        is_truncated=is_truncated,
        decode_bytes=(_SCALED_BYTES if max_value < 256 else 2 * _SCALED_BYTES) * width * height,
        flags=cv2.IMREAD_UNCHANGED,
        finish=finish,
    )


def _least_bytes(magic: bytes, width: int, height: int, max_value: int) -> int:
    """Count the bytes of raw samples, or of texts of one digit each."""
    samples = width * height * (3 if magic in _COLORS else 1)
    if magic == b"P4":
        return (width + 7) // 8 * height
    if magic in _TEXTS:
        return 2 * samples - 1
    return samples * (2 if max_value > 255 and magic not in _BITMAPS else 1)


def _scaled(image: NDArray[Any], max_value: int) -> NDArray[np.uint8]:
    """Scale levels of 0..max_value to 0..255, rounded to the nearest."""
    levels = np.arange(max_value + 1, dtype=np.uint32)
    table = ((levels * 255 + max_value // 2) // max_value).astype(np.uint8)
    return np.asarray(table[np.minimum(np.asarray(image), max_value)], np.uint8)
