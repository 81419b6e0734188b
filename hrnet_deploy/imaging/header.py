"""The declared properties of an image file, and the way to its pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True, kw_only=True)
class Header:
    """Header of an image file.

    Attributes:
        size_hw: (height, width) in pixels, before any orientation; None where the header is cut or broken.
        kind: format, one of `image_header.SUPPORTED`.
        unreadable: feature that is not read, in words for an error; None where there is none.
        is_truncated: whether the file ends before its image; decoders fill the rest with gray.
        decode_bytes: largest memory that OpenCV and `finish` need for the image, besides the file; None: not known.
        isolated: whether the header does not bound the decoder, which then gets a process of its own.
        flags: OpenCV's flags for decoding.
        prepare: from the file's content to one that OpenCV reads correctly.
        finish: from OpenCV's pixels to correct ones.
    """

    size_hw: tuple[int, int] | None
    kind: str = ""
    unreadable: str | None = None
    is_truncated: bool = False
    decode_bytes: int | None = None
    isolated: bool = False
    flags: int = cv2.IMREAD_COLOR
    prepare: Callable[[bytes], bytes] = bytes
    finish: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray
