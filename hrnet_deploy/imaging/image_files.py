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


def images_in(place: str, *, pattern: bool) -> list[Path]:
    """Find the images below a folder, or the images and videos that match a glob pattern, sorted; none is an error."""
    if not pattern:
        if found := images_below(Path(place)):
            return found
        raise ImageError(f"folder '{place}' must hold images, got none. Supported: {' '.join(sorted(IMAGE_SUFFIXES))}.")
    matches = map(Path, glob.glob(place, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    if found := sorted(path for path in matches if path.suffix.lower() in known and not path.is_dir()):
        return found
    raise MissingFileError(f"pattern '{place}' must match images, got no match. Check it, and quote it in a shell.")


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
