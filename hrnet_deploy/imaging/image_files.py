"""Image and video files: found in folders and by patterns, and read whole."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from hrnet_deploy.errors import ImageError, MissingFileError
from hrnet_deploy.imaging.decode_image import PIXEL_LIMIT

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}) | frozenset(
    {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Suffixes of image files in folders and patterns, in lower case."""
VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
)
"""Suffixes of files that are read as videos, in lower case."""
FILE_LIMIT_BYTES = 8 * PIXEL_LIMIT
"""Largest file that is read: four channels of 16 bits for each pixel that may be decoded."""
_CHUNK_BYTES = 1 << 20


def images_in(folder: Path) -> list[Path]:
    """Find the images below a folder, sorted; hidden files and folders are left out."""
    found: list[Path] = []
    seen: set[str] = set()
    try:
        for root, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
            if os.path.realpath(root) in seen:  # links may form a circle
                folders.clear()
                continue
            seen.add(os.path.realpath(root))
            folders[:] = [f for f in folders if not f.startswith(".")]
            found += [Path(root, f) for f in files if not f.startswith(".") and _suffix(f) in IMAGE_SUFFIXES]
    except OSError as error:
        raise ImageError(f"folder '{folder}' cannot be read ({error.strerror}). Check its permissions.") from error
    if not found:
        raise ImageError(
            f"folder '{folder}' must hold images, got none. Supported: {' '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return sorted(found)


def matching(pattern: str) -> list[Path]:
    """Find the images and videos that match a glob pattern, sorted."""
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    matches = map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    found = [path for path in matches if _suffix(path) in known and not path.is_dir()]
    if not found:
        raise MissingFileError(
            f"pattern '{pattern}' must match images, got no match. Check it, and quote it in a shell."
        )
    return sorted(found)


def read_file(path: Path) -> bytes:
    """Read an image file, at most `FILE_LIMIT_BYTES`."""
    try:
        with path.open("rb", buffering=0) as file:  # cv2.imread cannot open every Unicode path on Windows
            content = bytearray()
            while chunk := file.read(_CHUNK_BYTES):
                content += chunk
                if len(content) > FILE_LIMIT_BYTES:  # a device may have no end
                    raise ImageError(f"image '{path}' must have at most {FILE_LIMIT_BYTES} bytes, got more. Cut it.")
            return bytes(content)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"image '{path}' must exist, got no such file. Check the path.") from error
    except IsADirectoryError as error:
        raise ImageError(f"image '{path}' must be a file, got a folder. Name a file.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"image '{path}' cannot be read ({reason}). Check the path and its permissions.") from error


def _suffix(path: str | Path) -> str:
    return Path(path).suffix.lower()


def _raise(error: OSError) -> None:
    raise error
