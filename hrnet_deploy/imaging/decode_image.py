"""One image, however it is given, as BGR pixels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging import bmp, netpbm, tiff
from hrnet_deploy.imaging.boxes import AvifHeader, read_avif_header, read_jpeg2000_header
from hrnet_deploy.imaging.foreign import foreign_kind
from hrnet_deploy.imaging.image_header import READ, declared_hw, file_kind, is_truncated, unreadable_feature

PIXEL_LIMIT = 178_956_970
"""Largest image that is decoded, in pixels. Source: Pillow, twice Image.MAX_IMAGE_PIXELS, where it raises as well."""

_EXIF_ORIENTATION = 0x0112
_REDUCED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))


def from_bytes(content: bytes, what: str, draft_px: int | None = None) -> NDArray[np.uint8]:
    """Decode a file's content as Pillow's convert("RGB") does: alpha dropped, 16 bits cut to 8, orientation applied.

    Of several pages or frames the first is read; color profiles and gamma are left alone.

    Args:
        content: the file.
        what: its name in errors, such as "image 'cat.jpg'".
        draft_px: decode a JPEG at a half, a quarter or an eighth of its size where its short side keeps this many
            pixels, which is faster and not exact; None for all of it.

    Returns:
        BGR, uint8 (H, W, 3), contiguous.

    Raises:
        ImageError: empty, cut short, too large, no image, or one with a feature that is not read.
    """
    kind, size_hw = check_file(content, what)
    if kind == "TIFF":
        return _from_tiff(content, what)
    reading = _reading(kind, size_hw, draft_px)
    if kind == "JPEG 2000" and read_jpeg2000_header(content).components == 1:
        reading = cv2.IMREAD_UNCHANGED  # a bare codestream names no color space, and OpenCV takes that for color
    levels = netpbm.read_netpbm_header(content) if kind == "PBM, PGM or PPM" else None
    if levels is not None and not netpbm.is_scaled(levels):
        image = netpbm.scaled(_decoded(content, what, cv2.IMREAD_UNCHANGED), levels.max_value)
    else:
        image = _decoded(content, what, reading)
    if kind == "BMP":
        image = bmp.with_full_range(image, content)
    if kind == "AVIF":
        image = _avif_upright(image, read_avif_header(content))
    return from_array(image, what)


def check_file(content: bytes, what: str) -> tuple[str, tuple[int, int]]:
    """Look at an image file before a decoder takes memory for it.

    Args:
        content: the file.
        what: its name in errors.

    Returns:
        Its format, one of `image_header.READ`, and its (height, width) as stored.

    Raises:
        ImageError: empty, cut short, too large, no image, or one with a feature that is not read.
    """
    if not content:
        raise ImageError(f"{what} must not be empty, got 0 bytes. Fetch it again.")
    kind, size_hw = file_kind(content), declared_hw(content)
    if kind is None:
        foreign = foreign_kind(content)
        if foreign is not None:
            raise ImageError(f"{what} must be {', '.join(READ[:-1])} or {READ[-1]}, got {foreign}. Convert it to PNG.")
        raise ImageError(f"{what} cannot be decoded: not an image, or a damaged one. Save it again as PNG or JPEG.")
    if size_hw is not None:
        _check_size(size_hw, what)
    if is_truncated(content):
        raise ImageError(f"{what} must be complete, got a truncated file of {len(content)} bytes. Fetch it again.")
    if size_hw is None:  # a decoder might still find an image, of any size
        raise ImageError(f"{what} cannot be decoded: its {kind} header is damaged. Save it again as PNG or JPEG.")
    feature = unreadable_feature(content)
    if feature is not None:
        raise ImageError(f"{what} must be a {kind} of a kind that is read, got {feature}. Save it as 8-bit RGB PNG.")
    return kind, size_hw


def _decoded(content: bytes, what: str, reading: int) -> NDArray[Any]:
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), reading)
    except cv2.error as error:
        raise ImageError(f"{what} cannot be decoded ({error.err}). Save it again as PNG or JPEG.") from error
    if image is None:
        raise ImageError(
            f"{what} cannot be decoded: damaged, or with a feature that OpenCV does not read. Save it again as PNG or"
            " JPEG."
        )
    return image


def _from_tiff(content: bytes, what: str) -> NDArray[np.uint8]:
    """Decode a TIFF; libtiff multiplies colors by unassociated alpha, and leaves those of associated alpha dark."""
    header = tiff.read_tiff_header(content)
    reading = cv2.IMREAD_UNCHANGED if header.premultiplied else cv2.IMREAD_COLOR
    image = _decoded(tiff.plain(content, header), what, reading)
    if header.premultiplied:
        image = tiff.unpremultiplied(image)
    return _upright(from_array(image, what), header.value(tiff.ORIENTATION, 1))


def _avif_upright(image: NDArray[Any], header: AvifHeader) -> NDArray[Any]:
    """Turn an image as its file asks for, then mirror it; OpenCV does neither."""
    turned = np.rot90(image, header.quarter_turns)
    return turned if header.mirror is None else np.flip(turned, header.mirror)


def _reading(kind: str, size_hw: tuple[int, int], draft_px: int | None) -> int:
    """How cv2 is to decode; only JPEG gets faster by being reduced, as its decoder leaves frequencies out."""
    if kind == "AVIF":
        return cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # its own boxes count, not EXIF
    if draft_px is not None and kind == "JPEG":
        for factor, reading in _REDUCED:
            if min(size_hw) >= draft_px * factor:
                return reading
    return cv2.IMREAD_COLOR


def _check_size(size_hw: tuple[int, int], what: str) -> None:
    if size_hw[0] * size_hw[1] > PIXEL_LIMIT:
        raise ImageError(
            f"{what} must have at most {PIXEL_LIMIT} pixels, got {size_hw[0]}x{size_hw[1]} (height x width)."
            " Make it smaller or cut it into parts."
        )


def from_array(array: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """Bring an array to BGR.

    Args:
        array: BGR (H, W, 3), BGRA (H, W, 4) or grey (H, W) or (H, W, 1); uint8, or uint16, whose upper 8 bits count.
        what: its name in errors.

    Returns:
        BGR, uint8 (H, W, 3), contiguous; shares memory with `array` where it is that already.

    Raises:
        ImageError: another type or shape, or no pixels.
    """
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        levels = f" of {array.min():.4g}..{array.max():.4g}" if array.size and array.dtype.kind in "fiu" else ""
        raise ImageError(
            f"{what} must be uint8 (0..255) or uint16, got {array.dtype}{levels}. Scale it to 0..255 and use"
            " astype('uint8')."
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        advice = "Pass list(array) for a batch." if array.ndim == 4 else "Put the channels last."
        raise ImageError(f"{what} must be (H, W), (H, W, 3) or (H, W, 4), got {array.shape}. {advice}")
    if np.ma.isMaskedArray(array):
        raise ImageError(f"{what} must be a plain array, got a masked one. Use filled().")
    if array.size == 0:
        raise ImageError(f"{what} must have pixels, got {array.shape}. Check how it was cut or read.")
    if array.dtype != np.uint8:
        array = (array >> 8).astype(np.uint8)
    channels = 1 if array.ndim == 2 else array.shape[2]
    if channels == 1:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_GRAY2BGR), np.uint8)
    return np.ascontiguousarray(array[:, :, :3], np.uint8)


def is_pil(source: Any) -> bool:
    """Whether something behaves like a PIL image; Pillow need not be installed."""
    return all(hasattr(source, name) for name in ("convert", "mode", "size", "getexif"))


def from_pil(picture: Any, what: str) -> NDArray[np.uint8]:
    """Bring a PIL image to BGR, upright by its EXIF orientation.

    Args:
        picture: any mode but "F"; "I" counts as 16 bits.
        what: its name in errors.

    Returns:
        BGR, uint8 (H, W, 3), contiguous.

    Raises:
        ImageError: cut short, too large, of floats or without pixels.
    """
    _check_size((picture.size[1], picture.size[0]), what)
    try:
        orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
        if picture.mode == "I" or picture.mode.startswith("I;16"):  # Pillow would clip 16 bits to 8
            levels = np.asarray(picture)
            if levels.size and not 0 <= levels.min() <= levels.max() <= 65535:
                raise ImageError(
                    f"{what} must have levels of 16 bits, got {levels.min()}..{levels.max()}. Scale them to 0..65535."
                )
            image = from_array(levels.astype(np.uint16), what)
        elif picture.mode == "F":
            raise ImageError(f"{what} must have whole grey levels, got PIL mode 'F'. Scale it and convert('L').")
        elif 0 in picture.size:
            image = from_array(np.empty((0, 0, 3), np.uint8), what)
        else:
            image = cv2.cvtColor(np.asarray(picture.convert("RGB")), cv2.COLOR_RGB2BGR).view(np.uint8)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow decodes only now, and breaks in all three ways
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{what} cannot be decoded ({error}). Save it again as PNG or JPEG.") from error
    return _upright(image, orientation)


def _upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation. Source: EXIF 2.32, tag 0x0112."""
    turned: Any = image
    if orientation in (5, 6, 7, 8):
        turned = cv2.transpose(turned)
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
    if orientation in flips:
        turned = cv2.flip(turned, flips[orientation])
    return np.asarray(turned, np.uint8)
