"""The members of a zip of torch.save: stored without compression, one after the other; loads without torch."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from hrnet_deploy.errors import CheckpointError, one_line
from hrnet_deploy.limits import TENSORS, ZIP_DIRECTORY_BYTES
from hrnet_deploy.models.checkpoints.checkpoint_file import CheckpointFile

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, length of the name, length of the extra field."""
_ENCRYPTED = 1
_REASON_LENGTH = 160


@dataclass(frozen=True)
class ZipMember:
    """One stored member: the position of its bytes, their number, and their CRC-32."""

    start: int
    size: int
    crc: int


def zip_directory(file: CheckpointFile) -> list[zipfile.ZipInfo]:
    """Read the directory of a zip; raise CheckpointError where the file has none."""
    try:
        with zipfile.ZipFile(cast("IO[bytes]", _DirectoryStream(file.stream))) as archive:
            entries = archive.infolist()
    except CheckpointError:
        raise
    except Exception as error:  # zipfile raises more than its own errors on damaged directories
        raise CheckpointError(
            f"checkpoint '{file.path}' must be complete, got a zip without its end "
            f"({one_line(error, _REASON_LENGTH) or type(error).__name__}). Fetch it again."
        ) from error
    if len(entries) > TENSORS:
        raise CheckpointError(
            f"checkpoint '{file.path}' must have at most {TENSORS} members, got {len(entries)}. Save the model alone."
        )
    return entries


def stored_members(file: CheckpointFile, entries: list[zipfile.ZipInfo]) -> dict[str, ZipMember]:
    """Find the bytes of each member; refuse compressed, duplicate and overlapping ones by name."""
    origin = f"checkpoint '{file.path}'"
    members: dict[str, ZipMember] = {}
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        name = entry.filename
        if name in members:
            raise CheckpointError(f"{origin} must hold each member once, got '{name:.80}' twice. Fetch it again.")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            raise CheckpointError(
                f"{origin} must hold plain members, got '{name:.80}' compressed. "
                "Unpack it and pack it with 'zip -0', or save it again with torch.save."
            )
        start = _data_start(file, entry)
        if entry.header_offset < end or entry.compress_size != entry.file_size or start + entry.file_size > file.size:
            raise CheckpointError(
                f"{origin} must hold its members one after the other, got '{name:.80}' with wrong sizes. "
                "Fetch it again."
            )
        end = start + entry.file_size
        members[name] = ZipMember(start, entry.file_size, entry.CRC)
    return members


def check_checksums(file: CheckpointFile, members: Mapping[str, ZipMember]) -> None:
    """Read every member once, and compare its CRC-32."""
    for name, member in members.items():
        crc = 0
        for piece in file.chunks(member.start, member.size):
            crc = zlib.crc32(piece, crc)
        if crc != member.crc:
            raise CheckpointError(
                f"checkpoint '{file.path}' must be undamaged, got a wrong CRC-32 in its member '{name:.80}'. "
                "Fetch it again."
            )


def _data_start(file: CheckpointFile, entry: zipfile.ZipInfo) -> int:
    """Return the position of a member's bytes, which follow its local header."""
    signature, *lengths = _LOCAL_HEADER.unpack(file.read(entry.header_offset, _LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise CheckpointError(
            f"checkpoint '{file.path}' must be undamaged, got no header for its member '{entry.filename:.80}'. "
            "Fetch it again."
        )
    return int(entry.header_offset) + _LOCAL_HEADER.size + int(sum(lengths))


class _DirectoryStream:
    """A file for `zipfile` that reads no more at once than the directory of a checkpoint may have."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read(self, count: int = -1) -> bytes:
        """Read bytes; all that are left by default."""
        content = self._stream.read(ZIP_DIRECTORY_BYTES + 1 if count < 0 else min(count, ZIP_DIRECTORY_BYTES + 1))
        if len(content) > ZIP_DIRECTORY_BYTES:
            raise ValueError(f"its directory has more than {ZIP_DIRECTORY_BYTES} bytes")
        return content
