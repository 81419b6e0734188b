"""The header of a TIFF file: size, sample layout, and the features that OpenCV does not read or reads wrongly."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.imaging.header import Header
from hrnet_deploy.limits import IMAGE_PARTS

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, ORIENTATION, SAMPLES = 256, 257, 258, 259, 262, 273, 274, 277
LENGTHS, PLANAR, TILE_OFFSETS, TILE_LENGTHS, EXTRA_SAMPLES, SAMPLE_FORMAT = 279, 284, 324, 325, 338, 339
ROWS_PER_STRIP, TILE_WIDTH, TILE_HEIGHT = 278, 322, 323
_MAGIC = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
_TAGS = frozenset({WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, ORIENTATION, SAMPLES}) | frozenset(
    {LENGTHS, PLANAR, TILE_OFFSETS, TILE_LENGTHS, EXTRA_SAMPLES, SAMPLE_FORMAT, ROWS_PER_STRIP, TILE_WIDTH, TILE_HEIGHT}
)
_TYPES = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
"""NumPy names of the integer types, signed ones too, as libtiff takes them."""
_MAX_EXPANSION = {1: 1, 5: 4096, 8: 1032, 32946: 1032, 32773: 64}
"""Bytes that a stored byte can become: raw; LZW, a code for at most 4096 bytes; deflate, as in PNG; PackBits."""
_ASSOCIATED, _UNASSOCIATED, _SEPARATE = 1, 2, 2
_MAX_SAMPLES = 1024
_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
"""None, CCITT 1D/T.4/T.6, LZW, JPEG, Deflate (both numbers) and PackBits."""
_COMPRESSION_NAMES = {6: "old-style JPEG", 34712: "JPEG 2000", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP"} | {
    34887: "LERC",
    50002: "JPEG XL",
}
_GRAY, _RGB, _PALETTE, _CMYK, _YCBCR = (0, 1), 2, 3, 5, 6
_SAMPLES_OF = {0: (1, 2), 1: (1, 2), _RGB: (3, 4), _PALETTE: (1, 2), _CMYK: (4,), _YCBCR: (3,)}
_BITS_OF = {0: (1, 8, 16), 1: (1, 8, 16), _RGB: (8, 16), _PALETTE: (1, 4, 8), _CMYK: (8,), _YCBCR: (8,)}
_COLOR_NAMES = {4: "a transparency mask", 8: "CIE L*a*b* colors", 9: "ICC L*a*b* colors", 10: "ITU L*a*b* colors"} | {
    32803: "a color filter array (raw sensor data)",
    32844: "LogL values",
    32845: "LogLuv values",
    34892: "linear raw sensor data",
}


@dataclass(frozen=True)
class _Field:
    """One entry of the first image file directory: its integers, and the position of the first in the file."""

    values: NDArray[Any]
    at: int


@dataclass(frozen=True)
class _Directory:
    """Entries of the first page, by tag."""

    fields: dict[int, _Field]

    def values(self, tag: int, default: int) -> set[int]:
        """Return the distinct numbers of an entry; the default where it is missing or empty."""
        return set(self.fields[tag].values[:_MAX_SAMPLES].tolist() if tag in self.fields else ()) or {default}

    def value(self, tag: int, default: int) -> int:
        """Return the first number of an entry; the default where it is missing or empty."""
        field = self.fields.get(tag)
        return default if field is None or not field.values.size else int(field.values[0])

    @property
    def premultiplied(self) -> bool:
        """Whether the stored colors are already multiplied by alpha."""
        return self.value(EXTRA_SAMPLES, 0) == _ASSOCIATED


def read_tiff(content: bytes) -> Header:
    """Read the header of the first page. libtiff leaves colors dark that are already multiplied by alpha."""
    page = _directory(content)

    def finish(image: NDArray[Any]) -> NDArray[Any]:
        return upright(_unpremultiplied(image) if page.premultiplied else image, page.value(ORIENTATION, 1))

    return Header(
        size_hw=(page.value(HEIGHT, 0), page.value(WIDTH, 0)),
        unreadable=_unreadable(page),
        is_truncated=_is_truncated(page, len(content)),
        decode_bytes=_decode_bytes(page, len(content)),
        flags=cv2.IMREAD_UNCHANGED if page.premultiplied else cv2.IMREAD_COLOR,
        prepare=lambda content: _plain(content, page),
        finish=finish,
    )


def upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an orientation. Source: EXIF 2.32, tag 0x0112, which is that of TIFF."""
    if orientation in (5, 6, 7, 8):
        image = cv2.transpose(image)
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
    return cv2.flip(image, flips[orientation]) if orientation in flips else image


def _directory(content: bytes) -> _Directory:
    """Read the first image file directory. Source: TIFF 6.0, section 2; BigTIFF design, Aware Systems."""
    order, big = _MAGIC[content[:4]]
    entry, count_code, offset_code, inline = ("HHQ8s", "Q", "Q", 8) if big else ("HHI4s", "H", "I", 4)
    fields: dict[int, _Field] = {}
    try:
        start = struct.unpack_from(order + offset_code, content, 8 if big else 4)[0]
        entries = struct.unpack_from(order + count_code, content, start)[0]
        place = start + struct.calcsize(order + count_code)
        for _ in range(min(entries, 4096)):
            tag, kind, count, _ = struct.unpack_from(order + entry, content, place)
            at = place + 4 + struct.calcsize(order + offset_code)
            if tag in _TAGS and kind in _TYPES and tag not in fields:  # of duplicates the first counts, as in libtiff
                if count > IMAGE_PARTS:
                    raise ValueError(f"{count} numbers of tag {tag}")
                dtype = np.dtype(order + _TYPES[kind])
                if count * dtype.itemsize > inline:
                    at = struct.unpack_from(order + offset_code, content, at)[0]
                fields[tag] = _Field(np.frombuffer(content, dtype, count, at), at)
            place += struct.calcsize(order + entry)
    except (struct.error, OverflowError) as error:
        raise ValueError(str(error)) from error
    return _Directory(fields)


def _is_truncated(page: _Directory, size: int) -> bool:
    """Decide whether a strip or tile reaches beyond the file's end."""
    length = np.uint64(size)
    for offsets, lengths in ((OFFSETS, LENGTHS), (TILE_OFFSETS, TILE_LENGTHS)):
        if offsets in page.fields and lengths in page.fields:
            places, sizes = (page.fields[tag].values.astype(np.uint64) for tag in (offsets, lengths))
            count = min(len(places), len(sizes))
            if np.any(sizes[:count] > length - np.minimum(places[:count], length)):
                return True
    return _lacks_data(page, size)


def _segment_hw(page: _Directory) -> tuple[int, int]:
    """Return (height, width) of a strip or tile."""
    size_hw = page.value(HEIGHT, 0), page.value(WIDTH, 0)
    if TILE_OFFSETS in page.fields:
        return max(1, page.value(TILE_HEIGHT, size_hw[0])), max(1, page.value(TILE_WIDTH, size_hw[1]))
    return max(1, min(page.value(ROWS_PER_STRIP, size_hw[0]), size_hw[0])), max(1, size_hw[1])


def _lacks_data(page: _Directory, size: int) -> bool:
    """Decide whether strips or tiles are missing, or cannot fill the image with all that their bytes can expand to."""
    height, width = page.value(HEIGHT, 0), page.value(WIDTH, 0)
    rows, columns = _segment_hw(page)
    samples = page.value(SAMPLES, 1)
    planes = samples if page.value(PLANAR, 1) == _SEPARATE else 1
    offsets, lengths = (TILE_OFFSETS, TILE_LENGTHS) if TILE_OFFSETS in page.fields else (OFFSETS, LENGTHS)
    count = -(-height // rows) * -(-width // columns) * planes
    if offsets not in page.fields or len(page.fields[offsets].values) < count:
        return True
    stored = int(page.fields[lengths].values.astype(np.uint64).sum()) if lengths in page.fields else size
    expansion = _MAX_EXPANSION.get(page.value(COMPRESSION, 1))
    return expansion is not None and height * width * samples * page.value(BITS, 1) // 8 > expansion * stored


def _decode_bytes(page: _Directory, size: int) -> int:
    """Add up pixels, which OpenCV has twice, a strip or tile, two patched copies of the file, and the last steps."""
    pixels = page.value(HEIGHT, 0) * page.value(WIDTH, 0)
    rows, columns = _segment_hw(page)
    segment = rows * columns * (page.value(SAMPLES, 1) * page.value(BITS, 1) // 8 + 4)
    patched = 2 * size if page.value(EXTRA_SAMPLES, 0) == _UNASSOCIATED or page.value(ORIENTATION, 1) != 1 else 0
    last = 3 if page.value(ORIENTATION, 1) != 1 else 0
    if page.premultiplied:
        return pixels * (2 * 4 * (2 if 16 in page.values(BITS, 1) else 1) + 3 + last) + segment + patched
    return pixels * (6 + last) + segment + patched


def _unreadable(page: _Directory) -> str | None:
    color = page.value(PHOTOMETRIC, -1)
    samples = page.value(SAMPLES, 1)
    bits = page.values(BITS, 1)
    compression = page.value(COMPRESSION, 1)
    if not page.values(SAMPLE_FORMAT, 1) <= {1, 4}:
        kind = {2: "signed", 3: "floating-point"}.get(page.value(SAMPLE_FORMAT, 1), "complex")
        return f"{kind} {max(bits)}-bit samples"
    if color not in _SAMPLES_OF:
        return _COLOR_NAMES.get(color, f"color space {color}")
    if compression not in _COMPRESSIONS:
        return f"{_COMPRESSION_NAMES.get(compression, f'number {compression}')} compression"
    if samples not in _SAMPLES_OF[color]:
        kind = "gray" if color in _GRAY else "one color space"
        return f"{samples} channels tagged as {kind} (photometric {color})"
    if len(bits) != 1 or not bits <= set(_BITS_OF[color]):
        return f"{'/'.join(map(str, sorted(bits)))}-bit samples"
    return _misread(page, extra=samples > 1, deep=16 in bits)


def _misread(page: _Directory, *, extra: bool, deep: bool) -> str | None:
    """Name a layout that OpenCV 5 decodes to wrong pixels without an error, as the tests found by trying all."""
    planes, tiled = page.value(PLANAR, 1) == _SEPARATE, TILE_OFFSETS in page.fields
    if page.value(PHOTOMETRIC, -1) in (*_GRAY, _PALETTE):
        if extra and page.premultiplied:
            return "gray premultiplied by alpha"
        if extra and planes:
            return "separate planes of gray and alpha"
        if tiled and (extra or deep):
            return f"tiles of {'gray and alpha' if extra else '16-bit gray'}"
    elif page.premultiplied and planes and deep:
        return "separate planes of 16-bit colors premultiplied by alpha"
    return None


def _plain(content: bytes, page: _Directory) -> bytes:
    """Remove unassociated alpha, by which libtiff multiplies, and orientation, which OpenCV applies tile by tile."""
    patches = {EXTRA_SAMPLES: 0} if page.value(EXTRA_SAMPLES, 0) == _UNASSOCIATED else {}
    if page.value(ORIENTATION, 1) != 1:
        patches[ORIENTATION] = 1
    if not patches:
        return content
    patched = bytearray(content)
    for tag, value in patches.items():
        field = page.fields[tag]
        patched[field.at : field.at + field.values.itemsize] = np.array(value, field.values.dtype).tobytes()
    return bytes(patched)


def _unpremultiplied(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Divide BGRA colors by their alpha; black where alpha is 0. Source: Pillow, Unpack.c, unpackRGBa."""
    result = np.empty((*image.shape[:2], 3), np.uint8)
    for row, plain in zip(image, result, strict=True):  # by rows: little memory, which stays in the cache
        reduced = row if row.dtype == np.uint8 else np.asarray(row, np.uint16) >> 8
        color, alpha = reduced[:, :3].astype(np.uint16), reduced[:, 3:].astype(np.uint16)
        plain[:] = np.where(alpha == 0, 0, np.minimum(255, 255 * color // np.maximum(alpha, 1)))
    return result
