"""Views of the GPU arrays of other libraries."""

from __future__ import annotations

import itertools
import math
import operator
from functools import lru_cache
from typing import Any

import numpy as np

from hrnet_deploy.engines.cuda.api import LEGACY_STREAM, Cuda
from hrnet_deploy.engines.cuda.dlpack import CUDA_DEVICES, DeviceView, read_capsule
from hrnet_deploy.errors import UsageError, one_line

_INTERFACE = "__cuda_array_interface__"


def is_device_array(value: Any) -> bool:
    """Return whether a value has `__cuda_array_interface__`, or DLPack and GPU memory."""
    if isinstance(value, np.ndarray):
        return False
    return _has_dlpack(value) or hasattr(value, _INTERFACE)


def view(value: Any, name: str, *, cuda: Cuda, device: int, stream: int) -> DeviceView:
    """View a GPU array, and make `stream` wait for the work that still fills it.

    DLPack comes first: there the producer orders its current stream before ours. Else the stream of
    `__cuda_array_interface__` is waited for, or the legacy default stream, where PyCUDA and older interfaces compute.
    """
    if _has_dlpack(value):
        try:
            # The capsule is not consumed: it keeps the array alive until its destructor runs.
            found = read_capsule(value.__dlpack__(stream=stream))
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            reason = one_line(error, 200)
            raise UsageError(
                f"input '{name}' must be an array that DLPack can share, got: {reason}. Pass a detached one."
            ) from error
        index = int(value.__dlpack_device__()[1])
    else:
        index, entry = device, getattr(value, _INTERFACE)
        found = _from_interface(entry, value)
        cuda.wait(stream, int(entry.get("stream") or LEGACY_STREAM))
    if index != device:
        raise UsageError(f"input '{name}' must lie on cuda:{device}, got cuda:{index}. Copy it there.")
    if not _in_c_order(found):
        raise UsageError(
            f"input '{name}' must be contiguous in GPU memory, got shape {found.shape} with strides {found.strides}. "
            "Call .contiguous() (torch) or ascontiguousarray (CuPy) on it."
        )
    return found


def _has_dlpack(value: Any) -> bool:
    try:
        return hasattr(value, "__dlpack__") and int(value.__dlpack_device__()[0]) in CUDA_DEVICES
    except (AttributeError, TypeError, ValueError, BufferError, RuntimeError):
        return False


def _from_interface(entry: Any, owner: Any) -> DeviceView:
    name, size = _dtype(entry["typestr"])
    strides = entry.get("strides")
    if strides is not None:
        strides = tuple(step / size for step in strides)
    return DeviceView(int(entry["data"][0]), tuple(map(int, entry["shape"])), name, strides, owner)


@lru_cache(maxsize=64)
def _dtype(text: str) -> tuple[str, int]:
    """Return the name and the bytes of an element type."""
    dtype = np.dtype(text)
    # NumPy's name lacks the byte order, which `str` has.
    return (dtype.name if dtype.isnative else dtype.str), dtype.itemsize


def _in_c_order(found: DeviceView) -> bool:
    if found.strides is None or math.prod(found.shape) == 0:
        return True
    expected = itertools.accumulate(reversed(found.shape), operator.mul, initial=1)
    steps = zip(reversed(found.shape), reversed(found.strides), expected, strict=False)
    return all(size == 1 or step == wanted for size, step, wanted in steps)
