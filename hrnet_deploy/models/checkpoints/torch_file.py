"""Reading of files of torch.save, without importing or calling anything they name."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.limits import PICKLE_BYTES
from hrnet_deploy.models.checkpoints.checkpoint_file import CheckpointFile
from hrnet_deploy.models.checkpoints.file_format import FileFormat
from hrnet_deploy.models.checkpoints.inert_pickle import unpickle
from hrnet_deploy.models.checkpoints.pickle_opcodes import PickleStream
from hrnet_deploy.models.checkpoints.stored_tensor import Storage, storage_key, storage_of
from hrnet_deploy.models.checkpoints.zip_members import ZipMember, check_checksums, stored_members, zip_directory

_LEGACY_HEAD = (0x1950A86A20F9469CFC6C, 1001)
"""Magic number and version of the format before PyTorch 1.6."""
_PROGRAM = "data.pkl"
_COUNT_BYTES = 8


def read_torch(file: CheckpointFile, file_format: FileFormat) -> tuple[object, bool]:
    """Read the object given to torch.save, and whether the file had checksums, which then were right.

    The object consists of plain containers, with `PickledObject` for all else, tensors too. Tensors can be opened as
    long as the file is.

    Source: torch/serialization.py, `_load` and `_legacy_load`.
    """
    return _read_zip(file) if file_format is FileFormat.TORCH_ZIP else (_read_legacy(file), False)


def _read_zip(file: CheckpointFile) -> tuple[object, bool]:
    members = stored_members(file, zip_directory(file))
    # PyTorch itself compares no checksums, and stores 0 for all after `set_crc32_options(False)`.
    checksums = any(member.crc for member in members.values())
    if checksums:
        check_checksums(file, members)
    program, *more = [name for name in members if name.rpartition("/")[2] == _PROGRAM]
    if more:
        raise CheckpointError(f"checkpoint '{file.path}' must hold one {_PROGRAM}, got several. Fetch it again.")
    root = program.removesuffix(_PROGRAM)
    content = _small_member(file, members, program, PICKLE_BYTES)
    order = _small_member(file, members, f"{root}byteorder", 16) if f"{root}byteorder" in members else b"little"
    if order not in (b"little", b"big"):
        raise pickle.UnpicklingError("the byte order must be little or big")
    swapped = order.decode("ascii") != sys.byteorder
    places = {name: (member.start, member.size) for name, member in members.items()}
    read = _storage_reader(file, places, f"{root}data/")
    stream = PickleStream(io.BytesIO(content), len(content))
    return unpickle(stream, lambda pid: storage_of(pid, read, swapped=swapped)), checksums


def _small_member(file: CheckpointFile, members: dict[str, ZipMember], name: str, limit_bytes: int) -> bytes:
    if members[name].size > limit_bytes:
        raise CheckpointError(
            f"checkpoint '{file.path}' must have at most {limit_bytes} bytes in its member '{name:.80}', "
            f"got {members[name].size}. Save the model alone."
        )
    return file.read(members[name].start, members[name].size)


def _storage_reader(
    file: CheckpointFile, places: dict[str, tuple[int, int]], prefix: str = ""
) -> Callable[[str], Tensor]:
    """Return a function that reads the storage of a key once; a place is its first byte and its number of bytes."""
    found: dict[str, Tensor] = {}

    def read(key: str) -> Tensor:
        if key not in found:
            if f"{prefix}{key}" not in places:
                raise pickle.UnpicklingError(f"storage '{key}' must be in the file")
            start, count = places[f"{prefix}{key}"]
            content = torch.empty(count, dtype=torch.uint8)
            if count:
                file.read_into(start, memoryview(content.numpy()))  # type: ignore[arg-type]
            found[key] = content
        return found[key]

    return read


def _read_legacy(file: CheckpointFile) -> object:
    sizes: dict[str, int] = {}
    places: dict[str, tuple[int, int]] = {}
    read = _storage_reader(file, places)
    file.stream.seek(0)
    buffered = io.BufferedReader(file.stream)  # type: ignore[type-var]
    stream = PickleStream(buffered, file.size)
    try:
        if tuple(unpickle(stream) for _ in _LEGACY_HEAD) != _LEGACY_HEAD:
            raise pickle.UnpicklingError("the magic number of torch.save must come first")
        machine = unpickle(stream)
        little = machine.get("little_endian", True) is not False if isinstance(machine, dict) else True
        order: Literal["little", "big"] = "little" if little else "big"
        swapped = order != sys.byteorder

        def resolve(pid: Any) -> Any:
            found = storage_of(pid, read, swapped=swapped)
            if isinstance(found, Storage):
                sizes[found.key] = found.itemsize
            return found

        tree: object = unpickle(stream, resolve)
        keys = unpickle(stream)
        position = buffered.tell()
    finally:
        buffered.detach()
    places |= _legacy_places(file, keys, sizes, position, order)
    return tree


def _legacy_places(
    file: CheckpointFile, keys: Any, sizes: dict[str, int], position: int, order: Literal["little", "big"]
) -> dict[str, tuple[int, int]]:
    """Find the storages, which follow each other, each with its number of numbers before it."""
    places: dict[str, tuple[int, int]] = {}
    for key in map(storage_key, keys if isinstance(keys, list) else ()):
        if key not in sizes or key in places:
            raise pickle.UnpicklingError(f"storage '{key}' must belong to the object, and be there once")
        count = int.from_bytes(file.read(position, _COUNT_BYTES), order, signed=True)
        start, bytes_there = position + _COUNT_BYTES, count * sizes[key]
        if count < 0 or start + bytes_there > file.size:
            raise EOFError(f"it ends {start + bytes_there - file.size} bytes too early")
        places[key] = (start, bytes_there)
        position = start + bytes_there
    if position != file.size:
        raise pickle.UnpicklingError(f"{file.size - position} bytes follow its end")
    return places
