"""DLPack capsules through ctypes, both read and created.

Source: dlpack.h, version 0.8 (DLManagedTensor), which every framework still exchanges when no version is requested.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
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
# Own function objects, because the signatures of ctypes.pythonapi belong to the whole process.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _Destructor)(
    ("PyCapsule_New", ctypes.pythonapi)
)
# As addresses: a capsule under destruction must get no new reference.
_dying_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_dying_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


@dataclass(frozen=True)
class DlpackTensor:
    """The array in a capsule.

    Attributes:
        dtype: NumPy's name, or one such as "bfloat16" that NumPy does not have.
        strides: in elements; None for C order.
        device: index of the GPU.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] | None
    device: int


def read_capsule(capsule: Any) -> DlpackTensor:
    """Read a capsule without consuming it: the array lives as long as the capsule."""
    if not _is_valid(capsule, _NAME):
        raise BufferError("no unused DLPack capsule")
    tensor = ctypes.cast(_pointer_of(capsule, _NAME), ctypes.POINTER(_Managed)).contents.tensor
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    strides = tuple(tensor.strides[axis] for axis in range(tensor.ndim)) if tensor.strides else None
    address = int(tensor.data or 0) + int(tensor.byte_offset)
    dtype = _dtype_name(tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes)
    return DlpackTensor(address, shape, dtype, strides, int(tensor.device.index))


def make_capsule(
    owner: Any, *, address: int, shape: Sequence[int], dtype: np.dtype[Any], device: tuple[int, int]
) -> Any:
    """Create a capsule for an array in C order, which keeps `owner` alive until it is consumed and released."""
    managed = _Managed()
    dimensions = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    managed.tensor.data = address
    managed.tensor.device = _Device(*device)
    managed.tensor.ndim = len(shape)
    managed.tensor.dtype = _DataType(_CODES[dtype.kind], dtype.itemsize * 8, 1)
    managed.tensor.shape = dimensions
    managed.tensor.strides = None
    managed.tensor.byte_offset = 0
    token = next(_tokens)
    managed.context = token
    managed.deleter = _DELETE
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
    kind = _KINDS.get(code)
    try:
        return (
            str(np.dtype(f"{kind}{bits // 8}").name) if lanes == 1 and kind and bits % 8 == 0 else _foreign(code, bits)
        )
    except TypeError:  # such as a float of one byte
        return _foreign(code, bits)


def _foreign(code: int, bits: int) -> str:
    return "bfloat16" if code == _BFLOAT else f"dlpack type {code} of {bits} bits"
