"""DLPack capsules through ctypes: read those of others, make our own.

Source: dlpack.h, version 0.8 (DLManagedTensor), which every framework still exchanges when no version is asked for.
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
"""DLDeviceType of memory a GPU holds: kDLCUDA and kDLCUDAManaged."""

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
# The signatures are set on objects of our own, because those of ctypes.pythonapi belong to the whole process.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _Destructor)(
    ("PyCapsule_New", ctypes.pythonapi)
)
# For a capsule that is being destroyed, which must not be referred to any more.
_dying_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_dying_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


@dataclass(frozen=True)
class Exported:
    """What a capsule says of its array.

    Attributes:
        address: of the first element.
        shape: one entry a dimension.
        dtype: NumPy name, or a name such as "bfloat16" that NumPy does not know.
        strides: in elements, or None for C order.
        device: index of the GPU.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] | None
    device: int


def read_capsule(capsule: Any) -> Exported:
    """Look into a capsule without consuming it: the array lives as long as the capsule.

    Args:
        capsule: what `__dlpack__` returned.

    Returns:
        What it says.

    Raises:
        BufferError: it is no unused capsule of an array.
    """
    if not _is_valid(capsule, _NAME):
        raise BufferError("no unused DLPack capsule")
    tensor = ctypes.cast(_pointer_of(capsule, _NAME), ctypes.POINTER(_Managed)).contents.tensor
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    strides = tuple(tensor.strides[axis] for axis in range(tensor.ndim)) if tensor.strides else None
    address = int(tensor.data or 0) + int(tensor.byte_offset)
    dtype = _dtype_name(tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes)
    return Exported(address, shape, dtype, strides, int(tensor.device.index))


def make_capsule(
    owner: Any, *, address: int, shape: Sequence[int], dtype: np.dtype[Any], device: tuple[int, int]
) -> Any:
    """A capsule for an array in C order.

    Args:
        owner: kept alive until the consumer is done with the array.
        address: of the first element.
        shape: one entry a dimension.
        dtype: of the elements.
        device: (DLDeviceType, index).

    Returns:
        The capsule, to be consumed once.
    """
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
"""What consumers still use, by the token in their DLManagedTensor."""


def _delete(managed: Any) -> None:
    _alive.pop(managed.contents.context, None)


def _destroy(capsule: int) -> None:
    # A consumer renames what it took, and then calls the deleter itself.
    if _dying_is_valid(capsule, _NAME):
        managed = ctypes.cast(_dying_pointer_of(capsule, _NAME), ctypes.POINTER(_Managed))
        _alive.pop(managed.contents.context, None)


# Kept here: what C holds of them does not keep them alive.
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
