"""The chunks of a PNG file: its size, and what its decoder would inflate."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hrnet_deploy.imaging.header import Header
from hrnet_deploy.limits import IMAGE_PARTS, PNG_COMPRESSED_TEXTS

_SIGNATURE_BYTES = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_COMPRESSED = frozenset({b"zTXt", b"iTXt", b"iCCP"})
_MAX_EXPANSION = 1032
"""Bytes that deflate makes of one, at most. Source: zlib, Technical Details, "Maximum Expansion Factor"."""


def read_png(content: bytes) -> Header:
    """Read size and chunks; of an animation the first image. Source: ISO/IEC 15948 5.3 and 11.2.1; APNG 1.0."""
    width, height = struct.unpack_from(">II", content, 16)
    names: dict[bytes, int] = {}
    data_bytes = 0
    for name, start, end in _chunks(content):
        names[name] = names.get(name, 0) + 1
        data_bytes += end - start if name == b"IDAT" else 0
    # libpng inflates up to 8 MB for each compressed text and keeps it.
    texts = sum(names.get(name, 0) for name in _COMPRESSED)
    bits = content[24] * _CHANNELS.get(content[25], 1) if len(content) > 25 else 0
    pixel_bytes = width * height * bits // 8
    return Header(
        size_hw=(height, width),
        is_truncated=b"IEND" not in names or pixel_bytes > _MAX_EXPANSION * (data_bytes + 1),
        unreadable=f"{texts} compressed texts" if texts > PNG_COMPRESSED_TEXTS else None,
        prepare=_still if names.keys() & _ANIMATION else bytes,
    )


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the data of each chunk, up to the end of the image or the first cut chunk."""
    place = _SIGNATURE_BYTES
    for _ in range(IMAGE_PARTS):
        start = place + 8
        end = start + int.from_bytes(content[place : place + 4], "big")
        name = content[place + 4 : start]
        if end + 4 > len(content):
            return
        yield name, start, end
        if name == b"IEND":
            return
        place = end + 4
    raise ValueError(f"more than {IMAGE_PARTS} chunks")


def _still(content: bytes) -> bytes:
    """Remove the animation, for which OpenCV takes memory of several images."""
    kept = (content[start - 8 : end + 4] for name, start, end in _chunks(content) if name not in _ANIMATION)
    return b"".join([content[:_SIGNATURE_BYTES], *kept])
