"""Read Paddle's .pdparams, one pickle of NumPy arrays, without running anything it contains.

No name in the pickle reaches NumPy: records defined here take its place, and arrays are made from checked bytes after
the pickle has ended.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrnet_deploy.errors import CheckpointError

NAME_TABLE_KEY = "StructuredToParameterName@@"
"""Paddle's table of internal parameter names; no weights."""
SPLIT_TABLE_KEY = "UnpackBigParamInfor@@"
"""Says how arrays of a gigabyte and more were cut for pickle protocols 2 and 3."""

_NUMERIC = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
_ARRAY_MODULES = frozenset({"numpy", "numpy.core.multiarray", "numpy._core.multiarray"})


class _Record:
    """Keeps what a pickle calls it with, and the state it sets; never more than data."""

    arguments: tuple[Any, ...]
    state: Any

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Record):
    pass


class _DType(_Record):
    def numeric(self) -> np.dtype[Any]:
        code, order = self.arguments[0], self.state[1] if self.state else "|"
        if code not in _NUMERIC or order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"arrays must be of plain numbers, got dtype {code!r}")
        numeric: np.dtype[Any] = np.dtype(order + code if order in "<>" else code)
        return numeric


class _Scalar(_Record):
    def array(self) -> NDArray[Any]:
        dtype, data = self.arguments
        return _from_bytes((), dtype, data, fortran=False)


class _EncodedBytes(bytes):
    """What `_codecs.encode` gives for the bytes of protocol 2, and for nothing else."""

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"bytes must be stored as latin1, got '{encoding}'")
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("bytes have no state")


_ARRAY_NAMES: Mapping[str, Any] = {"ndarray": "ndarray", "_reconstruct": _Array, "dtype": _DType, "scalar": _Scalar}
_OTHER_NAMES: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _EncodedBytes,
}


class _Unpickler(pickle.Unpickler):
    """Looks names up in a table; never imports."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        found = _ARRAY_NAMES.get(global_name) if module_name in _ARRAY_MODULES else None
        found = found or _OTHER_NAMES.get((module_name, global_name))
        if found is None:
            raise CheckpointError(
                f"a Paddle checkpoint must hold arrays only, got a pickle that needs '{module_name}.{global_name}'. "
                "Loading it could run foreign code, so it is refused; save a plain state dict."
            )
        return found


def read_pdparams(path: Path) -> dict[str, Tensor]:
    """Read the weights of a .pdparams file.

    Args:
        path: the file; pickle protocols 2 to 5.

    Returns:
        Tensors by name, as stored (linear weights are (in, out)); bfloat16, which Paddle stores as uint16, is restored.

    Raises:
        CheckpointError: it names anything but arrays, or holds something else than named arrays.
        Exception: damaged bytes make pickle fail in many ways.

    Source: Paddle, python/paddle/framework/io.py.
    """
    with path.open("rb") as file:
        content = _Unpickler(file, encoding="latin1").load()
        rest = path.stat().st_size - file.tell()
    if rest:
        raise CheckpointError(
            f"checkpoint '{path}' must end with its pickle, got {rest} bytes more. It was put together from parts or "
            "is damaged; fetch it again."
        )
    if not isinstance(content, dict):
        raise CheckpointError(
            f"checkpoint '{path}' must hold named arrays, got {type(content).__name__}. Give weights."
        )
    content.pop(NAME_TABLE_KEY, None)
    splits = content.pop(SPLIT_TABLE_KEY, {})
    arrays = {name: _as_array(name, value) for name, value in content.items()}
    return {name: _as_tensor(array) for name, array in _join(arrays, splits).items()}


def _as_array(name: object, value: Any) -> NDArray[Any]:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]  # (internal name, array), from paddle.save outside a state dict
    if not isinstance(name, str) or not isinstance(value, (_Array, _Scalar)):
        kind = type(value).__name__.lstrip("_")
        raise CheckpointError(f"a Paddle checkpoint must hold named arrays, got {kind} under {name!r}. Give weights.")
    if isinstance(value, _Scalar):
        return value.array()
    _, shape, dtype, fortran, data = value.state
    return _from_bytes(shape, dtype, data, fortran=bool(fortran))


def _from_bytes(shape: tuple[int, ...], dtype: Any, data: Any, *, fortran: bool) -> NDArray[Any]:
    if not isinstance(dtype, _DType):
        raise pickle.UnpicklingError("an array must have a dtype")
    raw = data.encode("latin1") if isinstance(data, str) else data
    numeric = dtype.numeric()
    if not isinstance(raw, bytes) or len(raw) != math.prod(shape) * numeric.itemsize:
        raise pickle.UnpicklingError("an array's bytes must fill its shape")
    # The copy makes it writable and native, as torch needs it.
    array = np.frombuffer(raw, numeric).reshape(shape, order="F" if fortran else "C")
    return np.array(array, dtype=numeric.newbyteorder("="), order="C")


def _join(arrays: dict[str, NDArray[Any]], splits: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    for name, entry in splits.items():
        parts = [arrays.pop(part) for part in entry["slices"]]
        arrays[name] = np.concatenate(parts).reshape(tuple(entry["OriginShape"]))
    return arrays


def _as_tensor(array: NDArray[Any]) -> Tensor:
    if array.dtype == np.uint16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
