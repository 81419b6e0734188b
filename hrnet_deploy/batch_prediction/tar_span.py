"""WebDataset shards: images in uncompressed tar files, which are read in place."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hrnet_deploy.batch_prediction.file_stamp import FileStamp
from hrnet_deploy.batch_prediction.stored_image import StoredImage
from hrnet_deploy.errors import HrnetDeployError, ImageError, UsageError, one_line
from hrnet_deploy.imaging.folders import is_image
from hrnet_deploy.limits import IMAGE_FILE_BYTES
from hrnet_deploy.system.regular_file import open_regular

_HEADER_LIMIT_BYTES = 1 << 16
"""Limit of one header; extended headers declare their own size, and parsing them is quadratic."""
_BROKEN = (tarfile.TarError, OSError, ValueError, LookupError, EOFError, OverflowError, RecursionError)


@dataclass(frozen=True)
class TarSpan:
    """Images of one tar file: (member name, offset, size) each."""

    path: str
    name: str
    stamp: FileStamp
    members: tuple[tuple[str, int, int], ...]

    def __len__(self) -> int:
        return len(self.members)

    def cut(self, start: int, stop: int) -> TarSpan:
        """Return a part of the span."""
        return TarSpan(self.path, self.name, self.stamp, self.members[start:stop])

    def images(self) -> Iterator[StoredImage]:
        """Yield the images in order."""
        for member, offset, size in self.members:
            yield StoredImage(f"{self.name}/{member}", functools.partial(_read, self.path, member, offset, size))

    def check(self) -> None:
        """Refuse a file that differs from the one that was listed."""
        self.stamp.check(self.path)

    def lines(self) -> Iterator[str]:
        """Describe the images for the digest of all inputs."""
        yield f"tar\0{self.name}\0{self.stamp.size}\0{self.stamp.mtime_ns}"
        for member, offset, size in self.members:
            yield f"{member}\0{offset}\0{size}"


def list_tar(path: Path, name: str) -> TarSpan:
    """List the images of a tar file by its headers; hidden ones and other files are skipped.

    UsageError: the file is no uncompressed tar, is damaged, or holds links, devices, names outside of it or images
    larger than any that is decoded.
    """
    stamp = FileStamp.of(str(path))
    members = []
    try:
        with _open(path) as file, tarfile.open(fileobj=_BoundedReads(file), mode="r:") as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                archive.members.clear()  # tarfile would keep every header of the shard
                hidden = posixpath.basename(member.name).startswith(".")  # as in folders; macOS writes "._a.jpg"
                if _is_file(member, name, stamp.size) and is_image(member.name) and not hidden:
                    members.append((member.name, member.offset_data, member.size))
    except HrnetDeployError:
        raise
    except _BROKEN as error:
        reason = one_line(error, 200) or type(error).__name__
        raise UsageError(
            f"tar shard must be a whole, uncompressed tar file, got {name} ({reason}). Decompress or fetch it."
        ) from error
    return TarSpan(os.path.abspath(path), name, stamp, tuple(members))  # noqa: PTH100 - links stay as they are


@contextlib.contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """Open a shard, buffered: its headers are small."""
    with open_regular(path, "tar shard") as file, io.BufferedReader(file) as buffered:  # type: ignore[type-var]
        yield buffered


def _is_file(member: tarfile.TarInfo, shard: str, shard_bytes: int) -> bool:
    """Tell regular files from folders, and refuse everything else."""
    kind = None
    if member.issym() or member.islnk():
        kind = "a link"
    elif member.issparse():
        kind = "a sparse file"
    elif not (member.isreg() or member.isdir()):
        kind = "a device or an unknown kind"
    if kind is not None:
        raise _refusal(shard, member, "be regular files and folders", kind)
    parts = member.name.replace("\\", "/").split("/")
    if member.name.startswith(("/", "\\")) or ".." in parts or "\0" in member.name:
        raise _refusal(shard, member, "have names below the shard", "another name")
    if not 0 <= member.size <= shard_bytes - member.offset_data:
        raise _refusal(shard, member, "lie inside of it", f"a declared size of {member.size} bytes")
    if is_image(member.name) and member.size > IMAGE_FILE_BYTES:
        raise _refusal(shard, member, f"have at most {IMAGE_FILE_BYTES} bytes", f"{member.size}")
    return not member.isdir()


def _refusal(shard: str, member: tarfile.TarInfo, requirement: str, got: str) -> UsageError:
    return UsageError(
        f"members of tar shard {shard} must {requirement}, got {got} for {member.name!r:.100}. Write the shard again."
    )


class _BoundedReads:
    """A file for tarfile whose single reads are limited: a header may declare any size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        """Read a header."""
        if not 0 <= size <= _HEADER_LIMIT_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _read(path: str, member: str, offset: int, size: int) -> bytes:
    """Read one member; its size was checked against the file's."""
    with open_regular(Path(path), "tar shard", ImageError) as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) != size:
        raise ImageError(f"image '{member}' must have {size} bytes, got {len(content)}. Fetch {path} again.")
    return content
