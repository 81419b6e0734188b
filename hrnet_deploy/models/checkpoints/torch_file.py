"""Reading of files of torch.save, without importing or calling anything they name."""

from __future__ import annotations

import io
import mmap
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from hrnet_deploy.models.checkpoints.file_format import FileFormat
from hrnet_deploy.models.checkpoints.inert_pickle import InertUnpickler
from hrnet_deploy.models.checkpoints.stored_tensor import Storage, storage_of
from hrnet_deploy.models.checkpoints.zip_members import checked_members, data_start, member_bytes

_LEGACY_HEAD = (0x1950A86A20F9469CFC6C, 1001)
"""Magic number and version of the format before PyTorch 1.6."""


@dataclass(frozen=True)
class TorchContent:
    """The object given to torch.save.

    Attributes:
        tree: plain containers, with `PickledObject` for all else; `stored_tensor` understands the calls that are
            tensors.
        checksums: whether the file had any, which then were right.
    """

    tree: object
    checksums: bool


def read_torch(path: Path, file_format: FileFormat) -> TorchContent:
    """Read a file of torch.save; classes of other packages become placeholders with their content.

    A member with the wrong checksum raises CheckpointError; damaged bytes make reading fail in many ways.

    Source: torch/serialization.py, `_load` and `_legacy_load`.
    """
    return _read_zip(path) if file_format is FileFormat.TORCH_ZIP else _read_legacy(path)


def _read_zip(path: Path) -> TorchContent:
    with zipfile.ZipFile(path) as archive:
        members, checksums = checked_members(archive, f"checkpoint '{path}'")
        root = next(name for name in members if name.rpartition("/")[2] == "data.pkl").removesuffix("data.pkl")
        program = member_bytes(archive, members[f"{root}data.pkl"])
        order = member_bytes(archive, members[f"{root}byteorder"]) if f"{root}byteorder" in members else b"little"
        starts = {name: data_start(archive, entry) for name, entry in members.items()}
    whole = _mapped(path)

    def read(key: str, size: int) -> Tensor:
        name = f"{root}data/{key}"
        if size > members[name].file_size:
            raise pickle.UnpicklingError(f"member '{name}' must have {size} bytes, got {members[name].file_size}")
        return whole[starts[name] : starts[name] + size]

    swapped = order.decode("ascii") != sys.byteorder
    tree = _unpickle(io.BytesIO(program), lambda pid: storage_of(pid, read, swapped=swapped))
    return TorchContent(tree, checksums)


def _read_legacy(path: Path) -> TorchContent:
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

        tree = _unpickle(file, persistent)
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
    return TorchContent(tree, checksums=False)


def _unpickle(file: IO[bytes], persistent: Callable[[Any], Any]) -> Any:
    return InertUnpickler(file, persistent).load()


def _refuse(pid: Any) -> Any:
    raise pickle.UnpicklingError(f"only the object may have storages, got {pid!r:.40}")


def _mapped(path: Path) -> Tensor:
    """Map all bytes of a file; writing changes memory only."""
    size = path.stat().st_size
    storage = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)
    return torch.empty(0, dtype=torch.uint8).set_(cast("torch.UntypedStorage", storage))
