"""A video file that is written frame by frame and appears only when complete."""

from __future__ import annotations

import contextlib
import functools
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
"""Frames per second of a video that declares none."""
_FASTEST_FPS = 1000.0
_FORMATS = ((".mp4", "mp4v"), (".avi", "MJPG"))
"""Containers and codecs in order of preference; OpenCV's wheels have no H.264 encoder."""


def usable_fps(fps: float) -> float:
    """Return the declared frames per second, or `FALLBACK_FPS` where they are not plausible."""
    return fps if 0 < fps <= _FASTEST_FPS else FALLBACK_FPS


class VideoFile:
    """Writes frames of one size to `path`; a context manager that keeps the file only if nothing failed."""

    def __init__(self, path: Path, fps: float, size_hw: tuple[int, int]) -> None:
        """Open a video file for frames of (height, width); UsageError where it cannot be written.

        The path's suffix becomes .mp4, or .avi where this OpenCV writes no MPEG-4. An odd side grows by one pixel, as
        codecs require even sides.
        """
        self._size_hw = size_hw
        self._frames = 0
        self._even_hw = (size_hw[0] + size_hw[0] % 2, size_hw[1] + size_hw[1] % 2)
        for suffix, codec in _FORMATS:
            self.path = path.with_suffix(suffix)
            with contextlib.ExitStack() as stack:
                temporary = stack.enter_context(atomic_output(self.path))
                code = cv2.VideoWriter.fourcc(*codec)
                self._writer = cv2.VideoWriter(os.fspath(temporary), code, fps, self._even_hw[::-1])
                stack.push(functools.partial(self._check, temporary))
                stack.callback(self._writer.release)  # before the file is checked and gets its name
                if self._writer.isOpened():
                    self._stack = stack.pop_all()
                    return
                temporary.unlink(missing_ok=True)  # nothing gets the file's name
        raise UsageError(f"OpenCV must write videos, got no codec for '{path.name}'. Save images of the frames.")

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append a frame, BGR uint8 (H, W, 3); a frame of another size is resized."""
        if image.shape[:2] != self._size_hw:
            image = np.asarray(cv2.resize(image, self._size_hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        below, right = (even - own for even, own in zip(self._even_hw, self._size_hw, strict=True))
        framed: Any = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE) if below or right else image
        self._writer.write(framed)
        self._frames += 1

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _check(
        self, file: Path, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Refuse a file that lacks frames: OpenCV reports no full disk."""
        if kind is not None:
            return
        video = cv2.VideoCapture(os.fspath(file))
        found = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        video.release()
        if found != self._frames:
            raise UsageError(
                f"video must hold {self._frames} frames, got {found} on the disk for {self.path}. Free some space."
            )
