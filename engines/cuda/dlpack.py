"""DLPack capsules through ctypes, both read and created.

Source: dlpack.h, version 0.8 (DLManagedTensor), which every framework still exchanges when no version is requested.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

CUDA_DEVICES = {2, 13}
"""DLDeviceType of GPU memory: kDLCUDA and kDLCUDAManaged."""

_NAME = b"dltensor"
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}
_BFLOAT = 4
_CODES = {kind: code for code, kind in _KINDS.items()}


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))

_Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _python(name: str, result: Any, *arguments: Any) -> Any:
    """Return a function of Python's C API; an own object, as signatures of ctypes.pythonapi are the whole process's."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_is_valid = _python("PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_pointer_of = _python("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
_new = _python("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _Destructor)
# As addresses: a capsule under destruction must get no new reference.
_dying_is_valid = _python("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_dying_pointer_of = _python("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)


@dataclass(frozen=True)
class DeviceView:
    """A GPU array of torch, CuPy, PyCUDA or Numba.

    Attributes:
        dtype: NumPy's name, or one such as "bfloat16" that NumPy does not have.
        strides: in elements; None for C order.
        owner: keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[float, ...] | None
    owner: Any


def read_capsule(capsule: Any) -> DeviceView:
    """Read a capsule without consuming it: the array lives as long as the capsule."""
    if not _is_valid(capsule, _NAME):
        raise BufferError("no unused DLPack capsule")
    tensor = ctypes.cast(_pointer_of(capsule, _NAME), ctypes.POINTER(_Managed)).contents.tensor
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
    address = int(tensor.data or 0) + int(tensor.byte_offset)
    dtype = _dtype_name(tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes)
    return DeviceView(address, shape, dtype, strides, capsule)


def make_capsule(
    owner: Any, *, address: int, shape: Sequence[int], dtype: np.dtype[Any], device: tuple[int, int]
) -> Any:
    """Create a capsule for an array in C order, which keeps `owner` alive until it is consumed and released."""
    dimensions = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    element = _DataType(_CODES[dtype.kind], dtype.itemsize * 8, 1)
    tensor = _Tensor(address, _Device(*device), len(shape), element, dimensions, None, 0)
    token = next(_tokens)
    managed = _Managed(tensor, token, _DELETE)
    _alive[token] = (managed, dimensions, owner)
    return _new(ctypes.addressof(managed), _NAME, _DESTROY)


_tokens = itertools.count(1)
_alive: dict[int, tuple[Any, ...]] = {}
"""Arrays in use by consumers, by the token in their DLManagedTensor."""


def _delete(managed: Any) -> None:
    _alive.pop(managed.contents.context, None)


def _destroy(capsule: int) -> None:
    # A consumer renames a capsule that it consumes, and calls the deleter itself.
    if _dying_is_valid(capsule, _NAME):
        managed = ctypes.cast(_dying_pointer_of(capsule, _NAME), ctypes.POINTER(_Managed))
        _alive.pop(managed.contents.context, None)


# C pointers do not keep these objects alive.
_DELETE = _Deleter(_delete)
_DESTROY = _Destructor(_destroy)


@lru_cache(maxsize=64)
def _dtype_name(code: int, bits: int, lanes: int) -> str:
    if lanes == 1 and code in _KINDS and bits % 8 == 0:
        with suppress(TypeError):  # such as a float of one byte
            return np.dtype(f"{_KINDS[code]}{bits // 8}").name
    return "bfloat16" if code == _BFLOAT else f"dlpack type {code} of {bits} bits"
