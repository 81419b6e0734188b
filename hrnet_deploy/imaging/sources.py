"""Whatever a user calls an image, or a collection of them, as a stream of BGR frames."""

from __future__ import annotations

import functools
import glob
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError, MissingFileError
from hrnet_deploy.imaging import image_objects
from hrnet_deploy.imaging.decode_image import PIXEL_LIMIT, from_array, from_bytes, from_pil, is_pil
from hrnet_deploy.imaging.folders import IMAGE_SUFFIXES, images_below
from hrnet_deploy.imaging.image_url import fetch_image, url_scheme

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
)
"""Files that are read as videos."""
_SHOWN_URL = 200
_CHUNK_BYTES = 1 << 20
_FILE_LIMIT = 8 * PIXEL_LIMIT
"""Most bytes that are read from one file: four channels of 16 bits for each pixel that may be decoded."""
OnError = Callable[[str, ImageError], None]
"""Told the name of an item that cannot be used, and why."""


@dataclass(frozen=True)
class VideoFrame:
    """Where in a video a frame lies.

    Attributes:
        path: the video.
        index: number of the frame, from 0.
        fps: frames per second as the video says; 0 where it says nothing.
    """

    path: Path
    index: int
    fps: float


@dataclass(frozen=True)
class Frame:
    """One image, decoded.

    Attributes:
        image: BGR, uint8 (H, W, 3), contiguous; it shares the caller's memory where an array was given.
        name: file name, "image_0", "video.mp4#12" or "camera0#12"; counts start at 0.
        path: the file it came from, if any.
        decode_ms: time to read and decode it.
        video: where it lies in a video file; None for pictures and cameras.
    """

    image: NDArray[np.uint8]
    name: str
    path: Path | None
    decode_ms: float
    video: VideoFrame | None = None


def is_single(source: Any) -> bool:
    """Whether a source is one image, so that one result answers it.

    Args:
        source: anything `frames` takes.

    Returns:
        False for lists, iterators, folders, glob patterns, videos and cameras.
    """
    source = _plain(source)
    if isinstance(source, (str, Path)):
        return _kind(source) in {"image", "url", "nothing"}
    if is_pil(source) or image_objects.is_file(source) or image_objects.is_buffer(source):
        return True
    return image_objects.is_foreign_array(source) and not isinstance(source, np.integer)


def read_frame(source: Any, name: str = "image_0", *, draft_px: int | None = None, allow_url: bool = False) -> Frame:
    """Read one image.

    Args:
        source: path; http(s) URL; encoded bytes; binary file, read from where it stands; array, BGR (H, W, 3),
            BGRA (H, W, 4) or grey (H, W) or (H, W, 1), uint8 or uint16; or PIL image. Alpha is dropped, 16 bits keep
            their upper 8, EXIF orientation is applied.
        name: what to call it where it has no file name.
        draft_px: decode a JPEG at a half, a quarter or an eighth of its size where its short side keeps this many
            pixels, which is faster and not exact; None for all of it.
        allow_url: fetch URLs, which are refused otherwise.

    Returns:
        The frame.

    Raises:
        ImageError: it cannot be decoded, is cut short, is too large, or is no image at all.
        MissingFileError: no such file.
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
            image = from_bytes(
                fetch_image(str(source), f"image '{name}'", allowed=allow_url), f"image '{name}'", draft_px
            )
        else:
            path = Path(source)
            name = path.name
            image = from_bytes(_read(path), f"image '{path}'", draft_px)
    elif is_pil(source):
        image = from_pil(source, what)
    elif isinstance(source, np.ndarray):
        image = from_array(source, what)
    elif image_objects.is_buffer(source):
        image = from_bytes(bytes(source), what, draft_px)
    elif image_objects.is_file(source):
        name = _file_name(source) or name
        image = from_bytes(image_objects.read_file(source, f"image '{name}'", _FILE_LIMIT), f"image '{name}'", draft_px)
    else:
        raise image_objects.refusal(source, what)
    return Frame(image, name, path, 1e3 * (time.perf_counter() - start))


@dataclass(frozen=True)
class Item:
    """One image of a source, found but not yet decoded.

    Attributes:
        name: what it is called if it cannot be used.
        load: reads it; may be called from any thread. Raises ImageError or MissingFileError where it cannot be used.
    """

    name: str
    load: Callable[[], Frame]


def items(source: Any, *, draft_px: int | None = None, allow_url: bool = False) -> Iterator[Item]:
    """Find every image of a source; only frames of a video are decoded already.

    Args:
        source: anything `frames` takes.
        draft_px: as `read_frame` takes it.
        allow_url: as `read_frame` takes it.

    Yields:
        Items in order. What cannot be used, a folder without images as well, is an item that raises when it is loaded.
        Closing the iterator releases the video or camera.
    """
    yield from _walk(source, "image_0", functools.partial(read_frame, draft_px=draft_px, allow_url=allow_url))


def frames(source: Any, *, on_error: OnError | None = None) -> Iterator[Frame]:
    """Read every image of a source, one at a time.

    Args:
        source: anything `read_frame` takes; a folder (searched recursively, sorted, hidden files left out); a glob
            pattern; a video; a camera's number as int or text; or a list, tuple or iterator of all these.
        on_error: called with each item that cannot be used, which is then skipped; None to raise instead.

    Yields:
        Frames in order. Closing the iterator releases the video or camera.

    Raises:
        ImageError: an item cannot be used, or a folder, pattern or video holds nothing.
        MissingFileError: no such file or folder.
    """
    for item in items(source):
        try:
            frame = item.load()
        except (ImageError, MissingFileError) as error:  # noqa: PERF203 - one bad image is no end
            if on_error is None:
                raise
            on_error(item.name, as_image_error(error))
        else:
            yield frame


def as_image_error(error: ImageError | MissingFileError) -> ImageError:
    """What an `OnError` is told of either failure.

    Args:
        error: of an item that cannot be used.

    Returns:
        It, or an ImageError of the same words caused by it.
    """
    if isinstance(error, ImageError):
        return error
    reported = ImageError(str(error))
    reported.__cause__ = error
    return reported


def is_live(source: Any) -> bool:
    """Whether a source is a camera, whose frames must not wait for those behind them.

    Args:
        source: anything `frames` takes.

    Returns:
        True for the number of a camera, as int or text.
    """
    source = _plain(source)
    if isinstance(source, (str, Path)):
        return _kind(source) == "camera"
    return _is_number(source)


def _walk(source: Any, name: str, read: Callable[..., Frame]) -> Iterator[Item]:
    source = _plain(source)
    label = str(source) if isinstance(source, (str, Path)) or _is_number(source) else name
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
        yield Item(label, functools.partial(read, source, name))  # raises, as it is no image


def _plain(source: Any) -> Any:
    """Any path-like object as a Path, any other source as it is."""
    if isinstance(source, os.PathLike) and not isinstance(source, Path) and not image_objects.is_file(source):
        return Path(os.fsdecode(source))
    return source


def _is_number(source: Any) -> bool:
    return isinstance(source, (int, np.integer)) and not isinstance(source, bool)


def _file_name(source: Any) -> str | None:
    """Name of an open file; pipes and temporary files have a number or none."""
    found = getattr(source, "name", None)
    return Path(found).name or None if isinstance(found, str) else None


def _fail(error: ImageError | MissingFileError) -> Frame:
    raise error


def _collection(source: Any, read: Callable[..., Frame]) -> Iterator[Item]:
    kind = "camera" if _is_number(source) else _kind(source)
    if kind == "camera":
        yield from _video(int(str(source)), f"camera{source}", None)
    elif kind == "video":
        path = Path(str(source))
        if not path.exists():
            raise MissingFileError(f"video '{path}' must exist, got no such file. Check the path.")
        yield from _video(str(path), path.name, path)
    else:
        paths = _in_folder(Path(str(source))) if kind == "folder" else _matching(str(source))
        for path in paths:
            yield from _walk(path, path.name, read)


def _kind(source: str | Path) -> str:
    """One of image, folder, video, camera, pattern, url, nothing."""
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
    return "video" if path.suffix.lower() in VIDEO_SUFFIXES else "image"


def _in_folder(folder: Path) -> list[Path]:
    found = images_below(folder)
    if not found:
        raise ImageError(
            f"folder '{folder}' must hold images, got none. Supported: {' '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return found


def _matching(pattern: str) -> list[Path]:
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    matches = map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    found = [path for path in matches if path.suffix.lower() in known and not path.is_dir()]
    if not found:
        raise MissingFileError(
            f"pattern '{pattern}' must match images, got no match. Check it, and quote it in a shell."
        )
    return sorted(found)


def _video(address: str | int, name: str, path: Path | None) -> Iterator[Item]:
    capture = cv2.VideoCapture(address)
    try:
        if not capture.isOpened():
            raise ImageError(f"video '{path or name}' cannot be opened. Check that it plays, or convert it to MP4.")
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        index = 0
        while True:
            start = time.perf_counter()
            there, image = capture.read()
            if not there:
                break
            what = f"video '{name}' frame {index}"
            place = None if path is None else VideoFrame(path, index, fps)
            pixels = from_array(image, what)
            frame = Frame(pixels, f"{name}#{index}", path, 1e3 * (time.perf_counter() - start), place)
            yield Item(what, functools.partial(_itself, frame))
            index += 1
        if index == 0:
            raise ImageError(f"video '{path or name}' must hold frames, got none that decode. Convert it to MP4.")
    finally:
        capture.release()


def _itself(frame: Frame) -> Frame:
    return frame


def _read(path: Path) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:  # cv2.imread cannot open every Unicode path on Windows
            parts = bytearray()
            while chunk := file.read(_CHUNK_BYTES):
                parts += chunk
                if len(parts) > _FILE_LIMIT:  # a device may have no end
                    raise ImageError(f"image '{path}' must have at most {_FILE_LIMIT} bytes, got more. Cut it.")
            return bytes(parts)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"image '{path}' must exist, got no such file. Check the path.") from error
    except IsADirectoryError as error:
        raise ImageError(f"image '{path}' must be a file, got a folder. Use frames() for folders.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"image '{path}' cannot be read ({reason}). Check the path and its permissions.") from error
