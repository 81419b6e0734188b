"""One image, however it is given, as BGR pixels."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError
from hrnet_deploy.image_header import declared_hw, is_truncated

PIXEL_LIMIT = 178_956_970
"""Largest image that is decoded, in pixels. Source: Pillow, twice Image.MAX_IMAGE_PIXELS, where it raises as well."""

_EXIF_ORIENTATION = 0x0112
_REDUCED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))


def from_bytes(content: bytes, what: str, draft_px: int | None = None) -> NDArray[np.uint8]:
    """Decode a file's content as cv2.imread does: EXIF orientation applied, alpha dropped, 16 bits cut to 8.

    Args:
        content: the file.
        what: its name in errors, such as "image 'cat.jpg'".
        draft_px: decode a JPEG at a half, a quarter or an eighth of its size where its short side keeps this many
            pixels, which is faster and not exact; None for all of it.

    Returns:
        BGR, uint8 (H, W, 3), contiguous.

    Raises:
        ImageError: empty, cut short, too large, or no image.
    """
    if not content:
        raise ImageError(f"{what} must not be empty, got 0 bytes. Fetch it again.")
    size_hw = declared_hw(content)
    _check_size(size_hw, what)
    if is_truncated(content):
        raise ImageError(f"{what} must be complete, got a truncated file of {len(content)} bytes. Fetch it again.")
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), _reading(content, size_hw, draft_px))
    except cv2.error as error:
        raise ImageError(f"{what} cannot be decoded ({error.err}). Save it again as PNG or JPEG.") from error
    if image is None:
        raise ImageError(f"{what} cannot be decoded: not an image, or a damaged one. Save it again as PNG or JPEG.")
    return from_array(image, what)


def _reading(content: bytes, size_hw: tuple[int, int] | None, draft_px: int | None) -> int:
    """How cv2 is to decode; only JPEG gets faster by being reduced, as its decoder leaves frequencies out."""
    if draft_px is not None and size_hw is not None and content.startswith(b"\xff\xd8"):
        for factor, reading in _REDUCED:
            if min(size_hw) >= draft_px * factor:
                return reading
    return cv2.IMREAD_COLOR


def _check_size(size_hw: tuple[int, int] | None, what: str) -> None:
    if size_hw is not None and size_hw[0] * size_hw[1] > PIXEL_LIMIT:
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
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{what} must be uint8 (0..255) or uint16, got {array.dtype}. Scale it to 0..255 and use astype('uint8')."
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"{what} must be (H, W), (H, W, 3) or (H, W, 4), got {array.shape}. Put the channels last.")
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
            image = from_array(np.asarray(picture).astype(np.uint16), what)
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
