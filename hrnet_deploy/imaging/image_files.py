"""Image and video files: found in folders and by patterns, and read whole."""

from __future__ import annotations

import glob
from pathlib import Path

from hrnet_deploy.errors import ImageError, MissingFileError
from hrnet_deploy.imaging.decode_image import PIXEL_LIMIT
from hrnet_deploy.imaging.folders import IMAGE_SUFFIXES, images_below

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
)
"""Suffixes of files that are read as videos, in lower case."""
FILE_LIMIT_BYTES = 8 * PIXEL_LIMIT
"""Largest file that is read: four channels of 16 bits for each pixel that may be decoded."""
_CHUNK_BYTES = 1 << 20


def images_in(folder: Path) -> list[Path]:
    """Find the images below a folder, sorted; a folder without images is an error."""
    found = images_below(folder)
    if not found:
        raise ImageError(
            f"folder '{folder}' must hold images, got none. Supported: {' '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return found


def matching(pattern: str) -> list[Path]:
    """Find the images and videos that match a glob pattern, sorted."""
    matches = map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    found = [path for path in matches if path.suffix.lower() in known and not path.is_dir()]
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
