"""A video that is written frame by frame, and there only when it is whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.errors import UsageError

FALLBACK_FPS = 25.0
"""Frames per second of a video that does not say."""
_FASTEST_FPS = 1000.0
_FORMATS = ((".mp4", "mp4v"), (".avi", "MJPG"))
"""Containers and codecs in order of preference; OpenCV's wheels bring no encoder of H.264."""


def usable_fps(fps: float) -> float:
    """Frames per second as a video says, or `FALLBACK_FPS` where it says nothing that can be true."""
    return fps if 0 < fps <= _FASTEST_FPS else FALLBACK_FPS


class _NoCodecError(Exception):
    """This OpenCV cannot write that format."""


class VideoFile:
    """Writes frames of one size; a context manager that keeps the file only if nothing failed.

    Attributes:
        path: where it will lie.
    """

    def __init__(self, path: Path, fps: float, size_hw: tuple[int, int]) -> None:
        """Begin a video.

        Args:
            path: where it should lie; the suffix becomes .mp4, or .avi where this OpenCV writes no MPEG-4.
            fps: frames per second, above 0.
            size_hw: (height, width) of the frames; an odd side grows by one pixel, as the codecs want even ones.

        Raises:
            UsageError: the folder cannot be written to, or OpenCV writes no video.
        """
        self._size_hw = size_hw
        self._even_hw = (size_hw[0] + size_hw[0] % 2, size_hw[1] + size_hw[1] % 2)
        for suffix, codec in _FORMATS:
            self.path = path.with_suffix(suffix)
            with contextlib.suppress(_NoCodecError), contextlib.ExitStack() as stack:
                temporary = stack.enter_context(atomic_output(self.path))
                code = cv2.VideoWriter.fourcc(*codec)
                self._writer = cv2.VideoWriter(os.fspath(temporary), code, fps, self._even_hw[::-1])
                stack.callback(self._writer.release)  # before the file is put in place
                if not self._writer.isOpened():
                    raise _NoCodecError
                self._stack = stack.pop_all()
                return
        raise UsageError(f"OpenCV must write videos, got no codec for '{path.name}'. Save pictures of the frames.")

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a frame, BGR uint8 (H, W, 3); one of another size is resized."""
        if image.shape[:2] != self._size_hw:
            image = np.asarray(cv2.resize(image, self._size_hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        below, right = (even - own for even, own in zip(self._even_hw, self._size_hw, strict=True))
        framed: Any = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE) if below or right else image
        self._writer.write(framed)

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
