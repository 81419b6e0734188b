"""Decoding of one image to BGR pixels."""

from __future__ import annotations

import logging
import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError, one_line
from hrnet_deploy.imaging.decoder_process import decode_isolated
from hrnet_deploy.imaging.header import Header
from hrnet_deploy.imaging.image_header import SUPPORTED, read_header, unsupported_format
from hrnet_deploy.imaging.tiff import ORIENTATION, upright
from hrnet_deploy.limits import IMAGE_DECODE_BYTES, IMAGE_PIXELS
from hrnet_deploy.system import native_stderr

_LOG = logging.getLogger(__name__)

_REDUCED = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))


def from_bytes(content: bytes, what: str, draft_px: int | None = None) -> NDArray[np.uint8]:
    """Decode a file's content as Pillow's convert("RGB") does: alpha dropped, 16 bits cut to 8, orientation applied.

    The first of several pages or frames is read; color profiles and gamma are ignored. `what` names the file in errors.
    """
    header = check_file(content, what)
    flags = header.flags
    if draft_px is not None and header.kind == "JPEG" and header.size_hw is not None:
        # Only JPEG gets faster by being reduced, as its decoder leaves frequencies out.
        flags = next((flags for factor, flags in _REDUCED if min(header.size_hw) >= draft_px * factor), flags)
    decode = decode_isolated if header.isolated else decode_native
    image = header.finish(decode(header.prepare(content), what, flags))
    return from_array(image, what)


def check_file(content: bytes, what: str) -> Header:
    """Read and check the header of an image file before a decoder allocates memory for it."""
    if not content:
        raise ImageError(f"{what} must not be empty, got 0 bytes. Fetch it again.")
    header = read_header(content)
    if header is None:
        got = unsupported_format(content)
        if got is not None:
            known = f"{', '.join(SUPPORTED[:-1])} or {SUPPORTED[-1]}"
            raise ImageError(f"{what} must be {known}, got {got}. Convert it to PNG.")
        raise ImageError(f"{what} cannot be decoded: not an image, or a damaged one. Save it again as PNG or JPEG.")
    if header.size_hw is not None:
        _check_size(header.size_hw, what)
    if header.is_truncated:
        raise ImageError(f"{what} must be complete, got a truncated file of {len(content)} bytes. Fetch it again.")
    if header.size_hw is None:  # a decoder might still find an image, of any size
        raise ImageError(
            f"{what} cannot be decoded: its {header.kind} header is damaged. Save it again as PNG or JPEG."
        )
    if header.unreadable is not None:
        raise ImageError(
            f"{what} must be a {header.kind} of a kind that is read, got {header.unreadable}. Save it as 8-bit RGB PNG."
        )
    needed = len(content) + (header.decode_bytes or 0)
    if needed > IMAGE_DECODE_BYTES and not header.isolated:
        raise ImageError(
            f"{what} must decode within {IMAGE_DECODE_BYTES} bytes of memory, got {needed}. Save it as 8-bit RGB PNG,"
            " or make it smaller."
        )
    return header


def decode_native(content: bytes, what: str, flags: int) -> NDArray[Any]:
    """Decode with OpenCV in this process; native lines about damaged data become one warning, or an ImageError."""
    encoded = np.frombuffer(content, np.uint8)
    try:
        image, complaints = native_stderr.watched(lambda: cv2.imdecode(encoded, flags))
    except cv2.error as error:
        raise ImageError(f"{what} cannot be decoded ({error.err}). Save it again as PNG or JPEG.") from error
    if image is None:
        raise ImageError(
            f"{what} cannot be decoded: damaged, or with a feature that OpenCV does not read. Save it again as PNG or"
            " JPEG."
        )
    if complaints:
        _report_damage(what, one_line("; ".join(complaints), 200))
    return image


def _report_damage(what: str, found: str) -> None:
    """Warn of an image that decodes in spite of damaged data, or refuse it."""
    if os.environ.get(native_stderr.STRICT) == "1":
        raise ImageError(f"{what} must have undamaged data, got: {found}. Fetch it again, or leave out --strict.")
    _LOG.warning("%s has damaged data (%s); its pixels may be wrong", what, found)


def _check_size(size_hw: tuple[int, int], what: str) -> None:
    if size_hw[0] * size_hw[1] > IMAGE_PIXELS:
        raise ImageError(
            f"{what} must have at most {IMAGE_PIXELS} pixels, got {size_hw[0]}x{size_hw[1]} (height x width)."
            " Make it smaller or cut it into parts."
        )


def from_array(array: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """Convert BGR, BGRA or gray, uint8 or uint16 (upper 8 bits), to BGR uint8 (H, W, 3), without a copy if it is so."""
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
    """Decide whether an object behaves like a PIL image; Pillow need not be installed."""
    return all(hasattr(source, name) for name in ("convert", "mode", "size", "getexif"))


def from_pil(source: Any, what: str) -> NDArray[np.uint8]:
    """Convert a PIL image of any mode but "F" to upright BGR uint8 (H, W, 3); "I" counts as 16 bits."""
    _check_size((source.size[1], source.size[0]), what)
    try:
        orientation = source.getexif().get(ORIENTATION, 1)
        if source.mode == "I" or source.mode.startswith("I;16"):  # Pillow would clip 16 bits to 8
            levels = np.asarray(source)
            if levels.size and not 0 <= levels.min() <= levels.max() <= 65535:
                raise ImageError(
                    f"{what} must have levels of 16 bits, got {levels.min()}..{levels.max()}. Scale them to 0..65535."
                )
            image = from_array(levels.astype(np.uint16), what)
        elif source.mode == "F":
            raise ImageError(f"{what} must have whole gray levels, got PIL mode 'F'. Scale it and convert('L').")
        elif 0 in source.size:
            image = from_array(np.empty((0, 0, 3), np.uint8), what)
        else:
            image = cv2.cvtColor(np.asarray(source.convert("RGB")), cv2.COLOR_RGB2BGR).view(np.uint8)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow decodes only now, and breaks in all three ways
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{what} cannot be decoded ({error}). Save it again as PNG or JPEG.") from error
    return np.asarray(upright(image, orientation), np.uint8)
