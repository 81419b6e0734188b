"""Everything that a user may give as an image or a collection of images, as a stream of BGR frames."""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from hrnet_deploy.errors import ImageError, MissingFileError
from hrnet_deploy.imaging import image_files, image_objects
from hrnet_deploy.imaging.decode_image import from_array, from_bytes, from_pil, is_pil
from hrnet_deploy.imaging.decoder_process import video_frames
from hrnet_deploy.imaging.frame import Frame, Item, VideoFrame
from hrnet_deploy.imaging.image_url import fetch_image, url_scheme
from hrnet_deploy.limits import CAMERAS, IMAGE_FILE_BYTES
from hrnet_deploy.system.regular_file import check_regular

_SHOWN_URL = 200
OnError = Callable[[str, ImageError], None]
"""Receives the name of an item that cannot be used, and the error."""


class PilImage(Protocol):
    """An image of Pillow, which need not be installed."""

    def getexif(self) -> Any:
        """Return its EXIF tags."""
        ...


class BinaryFile(Protocol):
    """An open file that gives bytes."""

    def read(self, size: int = ..., /) -> bytes:
        """Read some bytes."""
        ...


def is_single(source: Any) -> bool:
    """Decide whether a source is one image: no list, iterator, folder, glob pattern, video or camera."""
    source = _plain(source)
    if isinstance(source, (str, Path)):
        return _kind(source) in {"image", "url", "nothing"}
    if is_pil(source) or image_objects.is_file(source) or image_objects.is_buffer(source):
        return True
    return image_objects.is_foreign_array(source) and not isinstance(source, np.integer)


def is_live(source: Any) -> bool:
    """Decide whether a source is the number of a camera, whose frames must not wait for later ones."""
    source = _plain(source)
    return _kind(source) == "camera" if isinstance(source, (str, Path)) else _is_number(source)


def read_frame(source: Any, name: str = "image_0", *, draft_px: int | None = None, allow_url: bool = False) -> Frame:
    """Read one image.

    Args:
        source: path; http(s) URL; encoded bytes; binary file, read from its position; array, BGR (H, W, 3),
            BGRA (H, W, 4) or gray (H, W) or (H, W, 1), uint8 or uint16; or PIL image. Alpha is dropped, 16 bits keep
            their upper 8, EXIF orientation is applied.
        name: name of an image without a file name.
        draft_px: decode a JPEG at a half, a quarter or an eighth of its size where its short side keeps this many
            pixels, which is faster and not exact; None for all of it.
        allow_url: fetch URLs, which are refused otherwise.

    Raises:
        ImageError: the source cannot be decoded, is cut short, is too large, or is no image.
        MissingFileError: the file does not exist.
    """
    start = time.perf_counter()
    source = _plain(source)
    path = None
    what = f"image '{name}'"
    if isinstance(source, (str, Path)):
        kind = _kind(source)
        if kind == "nothing":
            raise ImageError(f"{what} must be a file, folder, pattern or camera, got {source!r}. Name one.")
        if kind == "url":
            name = str(source)[:_SHOWN_URL]
            what = f"image '{name}'"
            image = from_bytes(fetch_image(str(source), what, allowed=allow_url), what, draft_px)
        else:
            path = Path(source)
            name = path.name
            image = from_bytes(image_files.read_file(path), f"image '{path}'", draft_px)
    elif is_pil(source):
        image = from_pil(source, what)
    elif isinstance(source, np.ndarray):
        image = from_array(source, what)
    elif image_objects.is_buffer(source):
        image = from_bytes(bytes(source), what, draft_px)
    elif image_objects.is_file(source):
        known = getattr(source, "name", None)  # pipes and temporary files have a number or none
        name = (Path(known).name if isinstance(known, str) else "") or name
        what = f"image '{name}'"
        image = from_bytes(image_objects.read_open_file(source, what, IMAGE_FILE_BYTES), what, draft_px)
    else:
        raise image_objects.refusal(source, what)
    return Frame(image, name, path, 1e3 * (time.perf_counter() - start))


def items(source: Any, *, draft_px: int | None = None, allow_url: bool = False) -> Iterator[Item]:
    """Find every image of a source, in order; only frames of a video are decoded already.

    The source is anything `read_frame` takes; a folder (searched recursively, sorted, hidden files left out); a glob
    pattern; a video; a camera's number as int or text; or a list, tuple or iterator of all these. An image that cannot
    be used, or a folder without images, is an item that raises when loaded. Closing the iterator releases the video or
    camera.
    """
    yield from _walk(source, "image_0", functools.partial(read_frame, draft_px=draft_px, allow_url=allow_url))


def as_image_error(error: ImageError | MissingFileError) -> ImageError:
    """Convert either failure of an item to the type that `OnError` receives."""
    if isinstance(error, ImageError):
        return error
    reported = ImageError(str(error))
    reported.__cause__ = error
    return reported


def _walk(source: Any, name: str, read: Callable[..., Frame]) -> Iterator[Item]:
    source = _plain(source)
    label = str(source) if isinstance(source, (str, Path)) or (_is_number(source) and abs(source) < CAMERAS) else name
    if is_single(source) or image_objects.is_unordered(source):
        yield Item(label, functools.partial(read, source, name))
    elif isinstance(source, (str, Path)) or _is_number(source):
        try:
            yield from _collection(source, read)
        except (ImageError, MissingFileError) as error:
            yield Item(label, functools.partial(_fail, error))
    elif isinstance(source, Iterable):
        for index, item in enumerate(source):
            yield from _walk(item, f"image_{index}", read)
    else:
        yield Item(label, functools.partial(read, source, name))  # raises when loaded


def _collection(source: Any, read: Callable[..., Frame]) -> Iterator[Item]:
    """Find the images of a folder, pattern, video or camera."""
    kind = "camera" if _is_number(source) else _kind(source)
    if kind == "camera":
        yield from _camera(source)
    elif kind == "video":
        yield from _video(Path(str(source)))
    else:
        for path in image_files.images_in(str(source), pattern=kind == "pattern"):
            yield from _walk(path, path.name, read)


def _video(path: Path) -> Iterator[Item]:
    """Decode a video file frame by frame; closing the iterator ends its decoder."""
    check_regular(path, "video", ImageError)
    with contextlib.closing(video_frames(path, f"video '{path}'")) as decoded:
        index, start = 0, time.perf_counter()
        for image, fps in decoded:
            yield _frame_item(image, path.name, index, start, VideoFrame(path, index, fps))
            index, start = index + 1, time.perf_counter()
    if index == 0:
        raise ImageError(f"video '{path}' must hold frames, got none that decode. Convert it to MP4.")


def _camera(source: Any) -> Iterator[Item]:
    """Read a camera, given by its number, frame by frame; closing the iterator releases it."""
    # The length of a text goes first, because int() refuses thousands of digits.
    if (isinstance(source, str) and len(source) > len(str(CAMERAS))) or not 0 <= (number := int(source)) < CAMERAS:
        raise ImageError(f"camera must have a number below {CAMERAS}, got a larger one or one below 0. Start with 0.")
    name = f"camera{number}"
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise ImageError(f"video '{name}' cannot be opened. Check that it is connected and not in use.")
        index, start = 0, time.perf_counter()
        while (read := capture.read())[0]:
            yield _frame_item(read[1], name, index, start, None)
            index, start = index + 1, time.perf_counter()
        if index == 0:
            raise ImageError(f"video '{name}' must hold frames, got none that decode. Check the camera.")
    finally:
        capture.release()


def _frame_item(image: Any, name: str, index: int, start: float, position: VideoFrame | None) -> Item:
    """Wrap a frame, whose decoding began at `start`."""
    what = f"video '{name}' frame {index}"
    path = None if position is None else position.path
    frame = Frame(from_array(image, what), f"{name}#{index}", path, 1e3 * (time.perf_counter() - start), position)
    return Item(what, functools.partial(_identity, frame))


def _identity(frame: Frame) -> Frame:
    return frame


def _kind(source: str | Path) -> str:
    """Classify a path or text: image, folder, video, camera, pattern, url or nothing."""
    path, text = Path(source), str(source)
    # An unset variable must not mean every image below the current folder; Path("") is Path(".").
    if not text.strip() or (isinstance(source, Path) and text == "."):
        return "nothing"
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises below an unreadable folder
        return "folder"
    if not os.path.exists(path):  # noqa: PTH110 - as above
        if url_scheme(text) is not None:
            return "url"
        if text.isdecimal() and isinstance(source, str):
            return "camera"
        if glob.has_magic(text):
            return "pattern"
    return "video" if path.suffix.lower() in image_files.VIDEO_SUFFIXES else "image"


def _plain(source: Any) -> Any:
    """Convert path-like objects to Path; return any other source unchanged."""
    if isinstance(source, os.PathLike) and not isinstance(source, Path) and not image_objects.is_file(source):
        return Path(os.fsdecode(source))
    return source


def _is_number(source: Any) -> bool:
    return isinstance(source, (int, np.integer)) and not isinstance(source, bool)


def _fail(error: ImageError | MissingFileError) -> Frame:
    raise error
