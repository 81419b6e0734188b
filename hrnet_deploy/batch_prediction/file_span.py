"""Image files."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.batch_prediction.file_stamp import FileStamp
from hrnet_deploy.batch_prediction.stored_image import StoredImage
from hrnet_deploy.imaging.image_files import read_file


@dataclass(frozen=True)
class FileSpan:
    """Image files, named by absolute paths or by paths below a base folder, which is absolute."""

    base: str
    files: tuple[tuple[str, FileStamp], ...]

    def __len__(self) -> int:
        return len(self.files)

    def cut(self, start: int, stop: int) -> FileSpan:
        """Return a part of the span."""
        return FileSpan(self.base, self.files[start:stop])

    def images(self) -> Iterator[StoredImage]:
        """Yield the images in order."""
        for name, _ in self.files:
            yield StoredImage(name, functools.partial(read_file, Path(self._path(name))))

    def check(self) -> None:
        """Refuse files that differ from those that were listed."""
        for name, stamp in self.files:
            stamp.check(self._path(name))

    def lines(self) -> Iterator[str]:
        """Describe the images for the digest of all inputs."""
        for name, stamp in self.files:
            yield f"file\0{name}\0{stamp.size}\0{stamp.mtime_ns}"

    def _path(self, name: str) -> str:
        return os.path.join(self.base, name)  # noqa: PTH118 - a Path for each of a million files takes seconds


def stamped(base: str, names: Iterator[str]) -> FileSpan:
    """Look the files of a span up."""
    return FileSpan(base, tuple((name, FileStamp.of(os.path.join(base, name))) for name in names))  # noqa: PTH118
