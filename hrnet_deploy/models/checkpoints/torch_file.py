"""Reading of files of torch.save, without importing or calling anything they name."""

from __future__ import annotations

import io
import mmap
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.file_format import FileFormat
from hrnet_deploy.models.checkpoints.inert_pickle import InertUnpickler
from hrnet_deploy.models.checkpoints.stored_tensor import Storage, storage_of

_LEGACY_HEAD = (0x1950A86A20F9469CFC6C, 1001)
"""Magic number and version of the format before PyTorch 1.6."""
_CHUNK_BYTES = 1 << 20
_LOCAL_HEADER_BYTES, _LOCAL_LENGTHS_AT = 30, 26


def read_torch(path: Path, file_format: FileFormat) -> tuple[object, bool]:
    """Read the object given to torch.save, and whether the file had checksums, which then were right.

    The object consists of plain containers, with `PickledObject` for all else, tensors too.

    Source: torch/serialization.py, `_load` and `_legacy_load`.
    """
    return _read_zip(path) if file_format is FileFormat.TORCH_ZIP else (_read_legacy(path), False)


def _read_zip(path: Path) -> tuple[object, bool]:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        checksums = any(entry.CRC for entry in archive.infolist())
        _check_members(archive, f"checkpoint '{path}'", checksums=checksums)
        members = {entry.filename: entry for entry in archive.infolist()}
        root = next(name for name in members if name.rpartition("/")[2] == "data.pkl").removesuffix("data.pkl")
        program = archive.read(f"{root}data.pkl")
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in members else b"little"
        starts = {name: _data_start(file, entry) for name, entry in members.items()}
    whole = _mapped(path)

    def read(key: str, size: int) -> Tensor:
        name = f"{root}data/{key}"
        if size > members[name].file_size:
            raise pickle.UnpicklingError(f"member '{name}' must have {size} bytes, got {members[name].file_size}")
        return whole[starts[name] : starts[name] + size]

    swapped = order.decode("ascii") != sys.byteorder
    return _unpickle(io.BytesIO(program), lambda pid: storage_of(pid, read, swapped=swapped)), checksums


def _check_members(archive: zipfile.ZipFile, origin: str, *, checksums: bool) -> None:
    """Read every member once; refuse a damaged, compressed or duplicate one by name.

    PyTorch itself compares no checksums, and stores 0 for all after `set_crc32_options(False)`.
    """
    seen: set[str] = set()
    for entry in archive.infolist():
        if entry.filename in seen:
            raise CheckpointError(f"{origin} must hold each member once, got '{entry.filename}' twice. Fetch it again.")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                f"{origin} must hold plain members, got '{entry.filename}' compressed. "
                "Unpack it and pack it with 'zip -0', or save it again with torch.save."
            )
        seen.add(entry.filename)
        if not checksums:
            entry.CRC = None  # type: ignore[assignment]  # the stream then compares none
        with archive.open(entry) as member:
            try:
                while member.read(_CHUNK_BYTES):
                    pass
            except (zipfile.BadZipFile, EOFError) as error:
                raise CheckpointError(
                    f"{origin} must be undamaged, got a wrong CRC-32 in its member '{entry.filename}'. Fetch it again."
                ) from error


def _data_start(file: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Return the position of a stored member's bytes in the file."""
    file.seek(entry.header_offset + _LOCAL_LENGTHS_AT)
    name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
    return entry.header_offset + _LOCAL_HEADER_BYTES + int(name_bytes + extra_bytes)


def _read_legacy(path: Path) -> object:
    sizes: dict[str, int] = {}
    starts: dict[str, int] = {}
    whole = _mapped(path)

    def read(key: str, size: int) -> Tensor:
        return whole[starts[key] : starts[key] + size]

    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        file = cast("IO[bytes]", mapped)
        if tuple(_unpickle(file, _refuse) for _ in _LEGACY_HEAD) != _LEGACY_HEAD:
            raise pickle.UnpicklingError("the magic number of torch.save must come first")
        swapped = _unpickle(file, _refuse).get("little_endian", True) is not (sys.byteorder == "little")

        def persistent(pid: Any) -> Any:
            found = storage_of(pid, read, swapped=swapped)
            if isinstance(found, Storage):
                sizes[found.key] = (found.dtype or torch.uint8).itemsize
            return found

        tree: object = _unpickle(file, persistent)
        keys = _unpickle(file, _refuse)
        position = mapped.tell()
        for key in map(str, keys):
            (count,) = struct.unpack_from(">q" if swapped else "<q", mapped, position)
            starts[key] = position + 8
            position = starts[key] + count * sizes[key]
            if count < 0 or position > len(mapped):
                raise EOFError(f"it ends {position - len(mapped)} bytes too early")
        if position != len(mapped):
            raise pickle.UnpicklingError(f"{len(mapped) - position} bytes follow its end")
    return tree


def _unpickle(file: IO[bytes], persistent: Callable[[Any], Any]) -> Any:
    return InertUnpickler(file, persistent).load()


def _refuse(pid: Any) -> Any:
    raise pickle.UnpicklingError(f"only the object may have storages, got {pid!r:.40}")


def _mapped(path: Path) -> Tensor:
    """Map all bytes of a file; writing changes memory only."""
    size = path.stat().st_size
    storage = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)
    return torch.empty(0, dtype=torch.uint8).set_(cast("torch.UntypedStorage", storage))
