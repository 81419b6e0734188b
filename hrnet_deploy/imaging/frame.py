"""Decoded images, and images that are found but not decoded yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class VideoFrame:
    """Position of a frame in a video: its number, from 0, and the frames per second that the video declares, or 0."""

    path: Path
    index: int
    fps: float


@dataclass(frozen=True)
class Frame:
    """One decoded image, named by its file, "image_0", "video.mp4#12" or "camera0#12"; counts start at 0.

    Attributes:
        image: BGR, uint8 (H, W, 3), contiguous; it shares the caller's memory where an array was given.
        decode_ms: time to read and decode.
        video: position in a video file; None for images and cameras.
    """

    image: NDArray[np.uint8]
    name: str
    path: Path | None
    decode_ms: float
    video: VideoFrame | None = None


@dataclass(frozen=True)
class Item:
    """One image of a source, found but not yet decoded; `load`, from any thread, raises where it cannot be used."""

    name: str
    load: Callable[[], Frame]
