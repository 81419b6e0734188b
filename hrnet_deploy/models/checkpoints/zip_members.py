"""The members of a zip of torch.save: complete, uncompressed, and with their checksums."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping

from hrnet_deploy.errors import CheckpointError

_CHUNK_BYTES = 1 << 20
_LOCAL_HEADER_BYTES = 30


def checked_members(archive: zipfile.ZipFile, origin: str) -> tuple[Mapping[str, zipfile.ZipInfo], bool]:
    """Read every member once and compare its CRC-32; return members by name, and whether there were checksums.

    PyTorch itself compares none of them, and stores 0 for all after `set_crc32_options(False)`. A damaged, compressed
    or duplicate member raises CheckpointError, which names it.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    computed = any(entry.CRC for entry in archive.infolist())
    for entry in archive.infolist():
        if entry.filename in members:
            raise CheckpointError(f"{origin} must hold each member once, got '{entry.filename}' twice. Fetch it again.")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                f"{origin} must hold plain members, got '{entry.filename}' compressed. "
                "Unpack it and pack it with 'zip -0', or save it again with torch.save."
            )
        members[entry.filename] = entry
        if not _whole(archive, entry, compare=computed):
            raise CheckpointError(
                f"{origin} must be undamaged, got a wrong CRC-32 in its member '{entry.filename}'. Fetch it again."
            )
    return members, computed


def data_start(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """Return the position of a stored member's bytes in the file."""
    handle = archive.fp
    if handle is None:
        raise ValueError("the archive is closed")
    handle.seek(entry.header_offset)
    header = handle.read(_LOCAL_HEADER_BYTES)
    return entry.header_offset + len(header) + sum(int.from_bytes(header[i : i + 2], "little") for i in (26, 28))


def member_bytes(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return a stored member's bytes, with or without a checksum."""
    handle = archive.fp
    if handle is None:
        raise ValueError("the archive is closed")
    handle.seek(data_start(archive, entry))
    return handle.read(entry.file_size)


def _whole(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, *, compare: bool) -> bool:
    """Whether all bytes are present and, if requested, match their checksum."""
    handle = archive.fp
    if handle is None or entry.flag_bits & 1:
        raise zipfile.BadZipFile(f"'{entry.filename}' is encrypted")
    handle.seek(data_start(archive, entry))
    found, left = 0, entry.file_size
    while left:
        chunk = handle.read(min(left, _CHUNK_BYTES))
        if not chunk:
            return False
        found = zlib.crc32(chunk, found)
        left -= len(chunk)
    return not compare or found == entry.CRC
