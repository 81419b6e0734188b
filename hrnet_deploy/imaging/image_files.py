"""Image and video files: found in folders and by patterns, and read whole."""

from __future__ import annotations

import glob
from pathlib import Path

from hrnet_deploy.errors import ImageError, MissingFileError
from hrnet_deploy.imaging.folders import IMAGE_SUFFIXES, images_below
from hrnet_deploy.limits import IMAGE_FILE_BYTES
from hrnet_deploy.system.regular_file import read_regular

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
)
"""Suffixes of files that are read as videos, in lower case."""


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
    """Read an image file, at most `IMAGE_FILE_BYTES`; cv2.imread cannot open every Unicode path on Windows."""
    return read_regular(path, "image", IMAGE_FILE_BYTES, ImageError)
