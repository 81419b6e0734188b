"""Reading of Paddle's .pdparams, one pickle of NumPy arrays, without running anything it contains.

No name in the pickle reaches NumPy: calls are recorded, and arrays are created from checked bytes after the pickle has
ended.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.limits import TENSOR_DIMENSIONS, TENSOR_SHARING, TENSORS
from hrnet_deploy.models.checkpoints.checkpoint_file import CheckpointFile
from hrnet_deploy.models.checkpoints.inert_pickle import refuse_ids, unpickle
from hrnet_deploy.models.checkpoints.pickle_opcodes import PickleStream
from hrnet_deploy.models.checkpoints.pickle_values import PickledObject

NAME_TABLE_KEY = "StructuredToParameterName@@"
"""Paddle's table of internal parameter names; no weights."""
SPLIT_TABLE_KEY = "UnpackBigParamInfor@@"
"""Paddle's table of the arrays of a gigabyte and more that pickle protocols 2 and 3 split."""

_NUMERIC = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
_ORDERS = frozenset("<>|=")
_SCALAR = "scalar"
_ARRAY_CALLS = {"_reconstruct": 5, _SCALAR: 2}
"""Functions of NumPy that create arrays, and the number of fields that describe one."""
_MAX_SIZE = 1 << 62
_ARRAY_MODULES = frozenset({"numpy", "numpy.core.multiarray", "numpy._core.multiarray"})
_ARRAY_NAMES = frozenset({"ndarray", "_reconstruct", "dtype", "scalar"})
_OTHER_NAMES = frozenset({("collections", "OrderedDict"), ("_codecs", "encode")})


def read_pdparams(file: CheckpointFile) -> dict[str, Tensor]:
    """Read tensors by name, as stored (linear weights are (in, out)); bfloat16, stored as uint16, is restored.

    Source: Paddle, python/paddle/framework/io.py.
    """
    content = _read_content(file)
    content.pop(NAME_TABLE_KEY, None)
    splits = content.pop(SPLIT_TABLE_KEY, {})
    if len(content) > TENSORS:
        raise CheckpointError(f"checkpoint '{file.path}' must have at most {TENSORS} arrays, got {len(content)}.")
    arrays: dict[str, NDArray[Any]] = {}
    total = 0
    for name, value in content.items():
        arrays[name] = _as_array(name, value)
        total += arrays[name].nbytes
        if total > TENSOR_SHARING * file.size:
            raise pickle.UnpicklingError("arrays must store each of their numbers, and got one in place of many")
    _join_parts(arrays, splits)
    return {name: _as_tensor(array) for name, array in arrays.items()}


def _read_content(file: CheckpointFile) -> dict[Any, Any]:
    file.stream.seek(0)
    buffered = io.BufferedReader(file.stream)  # type: ignore[type-var]
    try:
        content = unpickle(PickleStream(buffered, file.size), refuse_ids, _check_name)
        rest = file.size - buffered.tell()
    finally:
        buffered.detach()
    if rest:
        raise CheckpointError(
            f"checkpoint '{file.path}' must end with its pickle, got {rest} bytes more. It was put together from parts "
            "or is damaged; fetch it again."
        )
    if not isinstance(content, dict):
        raise CheckpointError(
            f"checkpoint '{file.path}' must hold named arrays, got {type(content).__name__}. Give weights."
        )
    return content


def _check_name(module: str, name: str) -> None:
    """Refuse every name but those of arrays, before the pickle is read on."""
    if not (module in _ARRAY_MODULES and name in _ARRAY_NAMES) and (module, name) not in _OTHER_NAMES:
        raise CheckpointError(
            f"a Paddle checkpoint must hold arrays only, got a pickle that needs '{module:.80}.{name:.80}'. "
            "Loading it could run foreign code, so it is refused; save a plain state dict."
        )


def _join_parts(arrays: dict[str, NDArray[Any]], splits: Any) -> None:
    """Replace the parts of split arrays by the arrays."""
    if not isinstance(splits, dict):
        raise pickle.UnpicklingError("the table of split arrays must be a dict")
    for name, entry in splits.items():
        names = entry.get("slices") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise pickle.UnpicklingError("the table of split arrays must have names")
        parts = [arrays.pop(part) for part in names if part in arrays]
        if len(parts) != len(names) or len({part.dtype for part in parts}) != 1:
            raise pickle.UnpicklingError(f"array '{name:.80}' must have all of its parts, of one dtype")
        arrays[name] = np.concatenate([part.reshape(-1) for part in parts]).reshape(_shape(entry.get("OriginShape")))


def _as_array(name: object, value: Any) -> NDArray[Any]:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]  # (internal name, array), from paddle.save outside a state dict
    kind = value.name.rpartition(".")[2] if isinstance(value, PickledObject) else ""
    if not isinstance(name, str) or kind not in _ARRAY_CALLS:
        found = "Array" if kind else type(value).__name__
        raise CheckpointError(
            f"a Paddle checkpoint must hold named arrays, got {found} under {name!r:.80}. Give weights."
        )
    fields = value.arguments if kind == _SCALAR else value.state
    if not isinstance(fields, tuple) or len(fields) != _ARRAY_CALLS[kind]:
        raise pickle.UnpicklingError("an array must have a shape, a dtype and bytes")
    _, stored_shape, dtype, fortran, data = fields if kind != _SCALAR else (1, (), fields[0], False, fields[1])
    shape, numeric, raw = _shape(stored_shape), _numeric(dtype), _raw(data)
    if len(raw) != math.prod(shape) * numeric.itemsize:
        raise pickle.UnpicklingError("an array's bytes must fill its shape")
    # The copy makes it writable and native, as torch needs it.
    array = np.frombuffer(raw, numeric).reshape(shape, order="F" if fortran is True else "C")
    return np.array(array, dtype=numeric.newbyteorder("="), order="C")


def _shape(sizes: Any) -> tuple[int, ...]:
    if (
        not isinstance(sizes, (tuple, list))
        or len(sizes) > TENSOR_DIMENSIONS
        or not all(type(size) is int and 0 <= size < _MAX_SIZE for size in sizes)
    ):
        raise pickle.UnpicklingError(f"an array must have at most {TENSOR_DIMENSIONS} sizes, which are not negative")
    return tuple(sizes)


def _numeric(dtype: Any) -> np.dtype[Any]:
    """Create the dtype of a recorded call, if it is of plain numbers."""
    if not isinstance(dtype, PickledObject) or dtype.name.rpartition(".")[2] != "dtype" or not dtype.arguments:
        raise pickle.UnpicklingError("an array must have a dtype")
    code = dtype.arguments[0]
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "|"
    # Only texts are hashed: a nested tuple can take forever.
    if not isinstance(code, str) or not isinstance(order, str) or code not in _NUMERIC or order not in _ORDERS:
        found = f"{code:.20}" if isinstance(code, str) else type(code).__name__
        raise pickle.UnpicklingError(f"arrays must be of plain numbers, got dtype '{found}'")
    numeric: np.dtype[Any] = np.dtype(order + code if order in "<>" else code)
    return numeric


def _raw(data: Any) -> bytes:
    """Return stored bytes; protocol 2 writes them as text or as a call of `_codecs.encode`."""
    if isinstance(data, PickledObject) and data.name == "_codecs.encode":
        if len(data.arguments) != 2 or data.arguments[1] not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError("bytes must be stored as latin1")
        data = data.arguments[0]
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes):
        raise pickle.UnpicklingError("an array must have bytes")
    return data


def _as_tensor(array: NDArray[Any]) -> Tensor:
    if array.dtype == np.uint16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
