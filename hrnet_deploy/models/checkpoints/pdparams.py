"""Reading of Paddle's .pdparams, one pickle of NumPy arrays, without running anything it contains.

No name in the pickle reaches NumPy: calls are recorded, and arrays are created from checked bytes after the pickle has
ended.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.inert_pickle import InertUnpickler, PickledName, PickledObject

NAME_TABLE_KEY = "StructuredToParameterName@@"
"""Paddle's table of internal parameter names; no weights."""
SPLIT_TABLE_KEY = "UnpackBigParamInfor@@"
"""Paddle's table of the arrays of a gigabyte and more that pickle protocols 2 and 3 split."""

_NUMERIC = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
_ARRAY_MODULES = frozenset({"numpy", "numpy.core.multiarray", "numpy._core.multiarray"})
_ARRAY_NAMES = frozenset({"ndarray", "_reconstruct", "dtype", "scalar"})
_OTHER_NAMES = frozenset({("collections", "OrderedDict"), ("_codecs", "encode")})


class _Unpickler(InertUnpickler):
    """An inert unpickler that refuses every name but those of arrays, before it reads on."""

    def find_class(self, module_name: str, global_name: str, /) -> PickledName:
        if module_name in _ARRAY_MODULES and global_name in _ARRAY_NAMES:
            return PickledName(f"numpy.{global_name}")
        if (module_name, global_name) in _OTHER_NAMES:
            return PickledName(f"{module_name}.{global_name}")
        raise CheckpointError(
            f"a Paddle checkpoint must hold arrays only, got a pickle that needs '{module_name}.{global_name}'. "
            "Loading it could run foreign code, so it is refused; save a plain state dict."
        )


def read_pdparams(path: Path) -> dict[str, Tensor]:
    """Read tensors by name, as stored (linear weights are (in, out)); bfloat16, stored as uint16, is restored.

    Source: Paddle, python/paddle/framework/io.py.
    """
    with path.open("rb") as file:
        content = _Unpickler(file, _refuse).load()
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
    splits: Mapping[str, Any] = content.pop(SPLIT_TABLE_KEY, {})
    arrays = {name: _as_array(name, value) for name, value in content.items()}
    for name, entry in splits.items():
        parts = [arrays.pop(part) for part in entry["slices"]]
        arrays[name] = np.concatenate(parts).reshape(tuple(entry["OriginShape"]))
    return {name: _as_tensor(array) for name, array in arrays.items()}


def _refuse(_pid: object) -> NoReturn:
    raise pickle.UnpicklingError("a Paddle checkpoint has no persistent ids")


def _as_array(name: object, value: Any) -> NDArray[Any]:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]  # (internal name, array), from paddle.save outside a state dict
    kind = value.name if isinstance(value, PickledObject) else ""
    if not isinstance(name, str) or kind not in {"numpy._reconstruct", "numpy.scalar"}:
        found = "Array" if kind else type(value).__name__
        raise CheckpointError(f"a Paddle checkpoint must hold named arrays, got {found} under {name!r}. Give weights.")
    if kind == "numpy.scalar":
        shape, fortran, (dtype, data) = (), False, value.arguments
    else:
        _, shape, dtype, fortran, data = value.state
    numeric, raw = _numeric(dtype), _raw(data)
    if not isinstance(raw, bytes) or len(raw) != math.prod(shape) * numeric.itemsize:
        raise pickle.UnpicklingError("an array's bytes must fill its shape")
    # The copy makes it writable and native, as torch needs it.
    array = np.frombuffer(raw, numeric).reshape(shape, order="F" if fortran else "C")
    return np.array(array, dtype=numeric.newbyteorder("="), order="C")


def _numeric(dtype: Any) -> np.dtype[Any]:
    """Create the dtype of a recorded call, if it is of plain numbers."""
    if not isinstance(dtype, PickledObject) or dtype.name != "numpy.dtype":
        raise pickle.UnpicklingError("an array must have a dtype")
    code, order = dtype.arguments[0], dtype.state[1] if dtype.state else "|"
    if code not in _NUMERIC or order not in ("<", ">", "|", "="):
        raise pickle.UnpicklingError(f"arrays must be of plain numbers, got dtype {code!r}")
    numeric: np.dtype[Any] = np.dtype(order + code if order in "<>" else code)
    return numeric


def _raw(data: Any) -> Any:
    """Return stored bytes; protocol 2 writes them as text or as a call of `_codecs.encode`."""
    if isinstance(data, PickledObject) and data.name == "_codecs.encode":
        data, encoding = data.arguments
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"bytes must be stored as latin1, got '{encoding}'")
    return data.encode("latin1") if isinstance(data, str) else data


def _as_tensor(array: NDArray[Any]) -> Tensor:
    if array.dtype == np.uint16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
