"""GPU arrays of others (torch, CuPy, PyCUDA, Numba) as an address, a shape and a type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hrnet_deploy.engines.cuda.api import LEGACY_STREAM, Cuda
from hrnet_deploy.engines.cuda.dlpack import CUDA_DEVICES, Exported, read_capsule
from hrnet_deploy.errors import UsageError

_INTERFACE = "__cuda_array_interface__"


@dataclass(frozen=True)
class DeviceView:
    """A GPU array in C order, ready for what follows on the stream it was viewed for.

    Attributes:
        address: of the first element.
        shape: one entry a dimension.
        dtype: NumPy name, or a name such as "bfloat16" that NumPy does not know.
        owner: what keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str
    owner: Any


def is_device_array(value: Any) -> bool:
    """Whether a value lies in GPU memory.

    Args:
        value: anything.

    Returns:
        True for an object with `__cuda_array_interface__`, or with DLPack and memory of a GPU.
    """
    if isinstance(value, np.ndarray):
        return False
    return _exports(value) or hasattr(value, _INTERFACE)


def view(value: Any, name: str, *, cuda: Cuda, device: int, stream: int) -> DeviceView:
    """View a GPU array, and make a stream wait for whatever still fills it.

    DLPack is asked first, because there the producer orders its own current stream before ours. Without it the stream
    of `__cuda_array_interface__` is waited for, and the legacy default stream where none is named: that is where
    PyCUDA and older interfaces compute.

    Args:
        value: for which `is_device_array` holds.
        name: of the input, for the error.
        cuda: the provider.
        device: the GPU it must lie on.
        stream: what shall wait.

    Returns:
        The view.

    Raises:
        UsageError: on another GPU, not in C order, or not exportable.
        DeviceError: CUDA failed.
    """
    if _exports(value):
        try:
            # Not used up: the capsule keeps the array alive, and its destructor lets go of it.
            owner = value.__dlpack__(stream=stream)
            found = read_capsule(owner)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(
                f"input '{name}' must be an array that DLPack can share, got: {_line(error)}. Pass a detached one."
            ) from error
        index = int(value.__dlpack_device__()[1])
    else:
        owner, index = value, device
        entry = getattr(value, _INTERFACE)
        found = _from_interface(entry)
        cuda.wait(stream, int(entry.get("stream") or LEGACY_STREAM))
    if index != device:
        raise UsageError(f"input '{name}' must lie on cuda:{device}, got cuda:{index}. Copy it there.")
    if not _in_c_order(found):
        raise UsageError(
            f"input '{name}' must be contiguous in GPU memory, got shape {found.shape} with strides {found.strides}. "
            "Call .contiguous() (torch) or ascontiguousarray (CuPy) on it."
        )
    return DeviceView(found.address, found.shape, found.dtype, owner)


def _exports(value: Any) -> bool:
    try:
        return hasattr(value, "__dlpack__") and int(value.__dlpack_device__()[0]) in CUDA_DEVICES
    except (AttributeError, TypeError, ValueError, BufferError, RuntimeError):
        return False


def _from_interface(entry: Any) -> Exported:
    name, size = _dtype(entry["typestr"])
    strides = entry.get("strides")
    if strides is not None:
        strides = tuple(step / size for step in strides)
    return Exported(int(entry["data"][0]), tuple(int(size) for size in entry["shape"]), name, strides, -1)


@lru_cache(maxsize=64)
def _dtype(text: str) -> tuple[str, int]:
    """Name and bytes of an element."""
    dtype = np.dtype(text)
    # The byte order is part of NumPy's name only where it is a foreign one.
    return (dtype.name if dtype.isnative else dtype.str), dtype.itemsize


def _in_c_order(found: Exported) -> bool:
    if found.strides is None or math.prod(found.shape) == 0:
        return True
    expected = 1
    for size, step in zip(reversed(found.shape), reversed(found.strides), strict=True):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
