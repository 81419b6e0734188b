"""The image files of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from hrnet_deploy.errors import ImageError

IMAGE_SUFFIXES = frozenset({".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}) | frozenset(
    {".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Suffixes of image files, in lower case; upper case matches too."""


def is_image(name: str) -> bool:
    """Return whether a file name has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a Path per file of ImageNet takes seconds


def is_file(path: Path) -> bool:
    """Return whether a regular file exists; False for a name that no file can have, where Path.is_file raises."""
    return os.path.isfile(path)  # noqa: PTH113


def list_folder(folder: Path) -> tuple[list[str], list[str]]:
    """List a folder without hidden entries: sorted names of its folders and of its files; ImageError if unreadable."""
    try:
        with os.scandir(folder) as entries:
            visible = sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith("."))
    except OSError as error:
        raise ImageError(f"folder '{folder}' cannot be read ({error.strerror}). Check its permissions.") from error
    return [name for name, is_dir in visible if is_dir], [name for name, is_dir in visible if not is_dir]


def images_below(folder: Path) -> list[Path]:
    """Find every image in a folder and its subfolders, sorted, without hidden ones; ImageError if unreadable."""
    found: list[Path] = []
    seen: set[str] = set()
    remaining = [folder]
    while remaining:
        place = remaining.pop()
        real = os.path.realpath(place)
        if real not in seen:  # links may form a circle
            seen.add(real)
            folders, files = list_folder(place)
            found += [place / name for name in files if is_image(name)]
            remaining += [place / name for name in folders]
    return sorted(found)
