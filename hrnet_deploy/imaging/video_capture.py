"""Frames of videos and cameras."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.decode_image import from_array
from hrnet_deploy.imaging.frame import Frame, Item, VideoFrame


def video_items(address: str | int, name: str, path: Path | None) -> Iterator[Item]:
    """Decode a video file or a camera frame by frame; closing the iterator releases it."""
    capture = cv2.VideoCapture(address)
    try:
        if not capture.isOpened():
            raise ImageError(f"video '{path or name}' cannot be opened. Check that it plays, or convert it to MP4.")
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        index = 0
        while True:
            start = time.perf_counter()
            decoded, image = capture.read()
            if not decoded:
                break
            what = f"video '{name}' frame {index}"
            position = None if path is None else VideoFrame(path, index, fps)
            pixels = from_array(image, what)
            frame = Frame(pixels, f"{name}#{index}", path, 1e3 * (time.perf_counter() - start), position)
            yield Item(what, functools.partial(_identity, frame))
            index += 1
        if index == 0:
            raise ImageError(f"video '{path or name}' must hold frames, got none that decode. Convert it to MP4.")
    finally:
        capture.release()


def _identity(frame: Frame) -> Frame:
    return frame
