"""Read what torch.save wrote, without importing or calling anything a file names."""

from __future__ import annotations

import pickle
import pickletools
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from hrnet_deploy.models.checkpoints.fileformat import FileFormat

_LEGACY_PICKLES = 5
# torch.save writes protocol 2, which calls two modules by their Python 2 names; torch.load translates them back.
_PYTHON2_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_allow_list_lock = threading.Lock()


class InertPlaceholder:
    """Stands for a class or function that a training file names but weights do not need.

    It takes any arguments and any state, keeps none and does nothing.
    """

    stands_for = ""

    def __init__(self, *arguments: object, **options: object) -> None:
        pass

    def __new__(cls, *_arguments: object, **_options: object) -> Any:
        """Ignore the arguments."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""


class InertMapping(InertPlaceholder):
    """Stands for a subclass of dict; what is put into it lands in a plain ordered one."""

    def __new__(cls, *_arguments: object, **_options: object) -> Any:
        """Ignore the arguments."""
        return OrderedDict()


def read_torch(path: Path, file_format: FileFormat) -> object:
    """Read a file that torch.save wrote.

    Files that hold tensors and plain containers only are read as they are. Training files also name classes of
    other packages (mmengine's message hub, NumPy scalars, argparse namespaces): each such name is bound to an
    `InertPlaceholder` for PyTorch's restricted unpickler, which looks names up in a table and never imports.

    Args:
        path: the file.
        file_format: TORCH_ZIP or TORCH_LEGACY.

    Returns:
        What was saved; tensors are on the CPU, those of a zip mapped from the file.

    Raises:
        Exception: damaged bytes make PyTorch fail in many ways; names of os, sys and the like are refused.

    Source: torch.serialization, `weights_only`.
    """
    try:
        return _load(path, file_format)
    except pickle.UnpicklingError:
        names = set(_names(path, file_format))
    # The table is PyTorch's own and process-wide, hence the lock; its defaults win over what is added.
    with _allow_list_lock, torch.serialization.safe_globals([_placeholder(name) for name in names]):
        return _load(path, file_format)


def _load(path: Path, file_format: FileFormat) -> object:
    mapped = file_format is FileFormat.TORCH_ZIP
    content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    return content


def _placeholder(name: str) -> type[InertPlaceholder]:
    base = InertMapping if name.lower().endswith("dict") else InertPlaceholder
    module, _, leaf = name.rpartition(".")
    # A class is looked up by the module and name it says it has.
    return type(leaf, (base,), {"stands_for": name, "__module__": module, "__qualname__": leaf})


def _names(path: Path, file_format: FileFormat) -> Iterator[str]:
    """All "module.name" the file's pickles look up; they are disassembled, not run."""
    if file_format is FileFormat.TORCH_LEGACY:
        with path.open("rb") as file:
            for _ in range(_LEGACY_PICKLES):
                yield from _names_in_pickle(file)
        return
    with zipfile.ZipFile(path) as archive:
        entry = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
        with archive.open(entry) as file:
            yield from _names_in_pickle(file)


def _names_in_pickle(file: IO[bytes]) -> Iterator[str]:
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL" and isinstance(argument, str):
            module, _, name = argument.partition(" ")
            yield f"{_PYTHON2_MODULES.get(module, module)}.{name}"
