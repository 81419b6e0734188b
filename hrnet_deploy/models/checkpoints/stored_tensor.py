"""Tensors as torch.save writes them: described by a pickle, with their numbers elsewhere in the file."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hrnet_deploy.limits import TENSOR_DIMENSIONS
from hrnet_deploy.models.checkpoints.pickle_values import PickledName, PickledObject

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
_TYPED = "torch._utils._rebuild_tensor_v3"
_TENSORS = frozenset({"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", _TYPED})
_WRAPPERS = frozenset(
    {
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch.nn.parameter.Parameter",
        "torch.nn.parameter.Buffer",
    }
)
_SUBCLASS = frozenset({"torch._tensor._rebuild_from_type", "torch._tensor._rebuild_from_type_v2"})
_UNREADABLE = (
    ("_rebuild_meta_tensor", "on the meta device, without numbers"),
    ("_rebuild_sparse", "sparse"),
    ("_rebuild_qtensor", "quantized"),
    ("ShardedTensor", "sharded over several files"),
    ("DTensor", "sharded over several files"),
    ("torch._utils._rebuild_", "of a kind only PyTorch itself can make"),
)
_MAX_WRAPPERS = 8
_MAX_SIZE = 1 << 62
_MAX_KEY = 100


@dataclass(frozen=True)
class Storage:
    """A run of `count` numbers in the file, from `start` on where the storage is a part of another.

    Attributes:
        dtype: None for quantized numbers.
        read: from the key to all bytes stored under it, as a uint8 tensor; it is called while the file is open.
        swapped: whether the byte order differs from this machine's.
    """

    dtype: torch.dtype | None
    key: str
    count: int
    read: Callable[[str], Tensor]
    swapped: bool = False
    start: int = 0

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return (self.dtype or torch.uint8).itemsize


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that has not been read yet; `offset` is its first number in the storage."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of a dense copy."""
        return math.prod(self.shape) * self.dtype.itemsize

    def open(self) -> Tensor:
        """Read the tensor; raises UnpicklingError where it exceeds its storage, or its storage the file."""
        step, storage = self.dtype.itemsize, self.storage
        available = storage.count * storage.itemsize
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True))
        if math.prod(self.shape) and (last + 1) * step > available:
            raise pickle.UnpicklingError("a tensor must lie inside its storage")
        if self.nbytes > available:
            raise pickle.UnpicklingError("a tensor must store each of its numbers, not one in place of many")
        stored, first = storage.read(storage.key), storage.start * storage.itemsize
        if first + available > len(stored):
            raise pickle.UnpicklingError(
                f"storage '{storage.key}' must have {first + available} bytes, got {len(stored)}"
            )
        if first % step:
            raise pickle.UnpicklingError("a tensor must begin at a multiple of its numbers' size")
        if not math.prod(self.shape):
            return torch.empty(self.shape, dtype=self.dtype)
        numbers = stored[first : first + available // step * step].view(self.dtype)
        tensor = numbers.as_strided(self.shape, self.stride, numbers.storage_offset() + self.offset)
        if storage.swapped:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
            tensor.untyped_storage().byteswap(self.dtype)  # type: ignore[no-untyped-call]
        return tensor


@dataclass(frozen=True)
class UnreadableTensor:
    """A tensor without usable numbers, and the reason."""

    kind: str


def storage_of(pid: Any, read: Callable[[str], Tensor], *, swapped: bool) -> Storage | PickledObject:
    """Return the storage of a persistent id, or a placeholder for ids of another kind; `read` reads a storage.

    An id is ("storage", class, key, device, count) and, before PyTorch 1.6, a part of another storage.
    """
    if not isinstance(pid, tuple) or not pid or pid[0] != "storage":
        whole = pid[1] if isinstance(pid, tuple) and len(pid) > 1 else None
        return PickledObject(whole.name if isinstance(whole, PickledName) else "an unknown object")
    if len(pid) < 5 or not isinstance(pid[1], PickledName):
        raise pickle.UnpicklingError("a storage must have a class, a key and a size")
    _, kind, key, _, count, *rest = pid
    found = Storage(_STORAGES.get(kind.name.rpartition(".")[2]), storage_key(key), _size(count), read, swapped)
    if rest and rest[0] is not None:
        if not isinstance(rest[0], tuple) or len(rest[0]) != 3:
            raise pickle.UnpicklingError("a part of a storage must have a key, a place and a size")
        _, start, size = rest[0]
        found = replace(found, start=_size(start), count=_size(size))
    return found


def storage_key(key: Any) -> str:
    """Return the key of a storage, a text or a number, as text."""
    if not isinstance(key, (str, int)) or len(text := str(key)) > _MAX_KEY:
        raise pickle.UnpicklingError(f"the key of a storage must be a text of at most {_MAX_KEY} characters")
    return text


def tensor_of(call: PickledObject) -> StoredTensor | UnreadableTensor | None:
    """Return the tensor that a recorded call of torch._utils._rebuild_... would create; None for other calls."""
    for _ in range(_MAX_WRAPPERS):
        if call.name not in _WRAPPERS and call.name not in _SUBCLASS:
            break
        inner = _unwrapped(call)
        if inner is None:
            return None
        call = inner
    if call.name in _TENSORS:
        return _stored(call)
    return next((UnreadableTensor(kind) for part, kind in _UNREADABLE if part in call.name), None)


def _unwrapped(call: PickledObject) -> PickledObject | None:
    """Return the call inside the call of a parameter or a subclass of tensors."""
    if call.name in _WRAPPERS:
        inner = call.arguments[0] if call.arguments else None
        return inner if isinstance(inner, PickledObject) else None
    if len(call.arguments) < 3 or not isinstance(call.arguments[2], tuple):
        raise pickle.UnpicklingError("a subclass of tensors must have a function and its arguments")
    function, arguments = call.arguments[0], call.arguments[2]
    return PickledObject(function.name, arguments) if isinstance(function, PickledName) else None


def _stored(call: PickledObject) -> StoredTensor | UnreadableTensor:
    """Return the tensor of a call of one of `_TENSORS`, with checked arguments."""
    if len(call.arguments) < 4 or not isinstance(call.arguments[0], Storage):
        raise pickle.UnpicklingError("a tensor must have a storage, an offset, a shape and strides")
    storage, offset, shape, stride = call.arguments[:4]
    dtype = storage.dtype
    if call.name == _TYPED:
        kind = call.arguments[6] if len(call.arguments) > 6 else None
        named = getattr(torch, kind.name.rpartition(".")[2], None) if isinstance(kind, PickledName) else None
        dtype = named if isinstance(named, torch.dtype) else None
    if dtype is None:
        return UnreadableTensor("quantized")
    sizes, strides = _sizes(shape), _sizes(stride)
    if len(sizes) != len(strides):
        raise pickle.UnpicklingError("a tensor must have one stride for each dimension")
    return StoredTensor(storage, dtype, _size(offset), sizes, strides)


def _sizes(values: Any) -> tuple[int, ...]:
    if isinstance(values, PickledObject) and values.name == "torch.Size" and len(values.arguments) == 1:
        values = values.arguments[0]
    if not isinstance(values, (tuple, list)) or len(values) > TENSOR_DIMENSIONS:
        raise pickle.UnpicklingError(f"a tensor must have at most {TENSOR_DIMENSIONS} dimensions")
    return tuple(map(_size, values))


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MAX_SIZE:
        raise pickle.UnpicklingError("sizes and strides must be integers that are not negative, and fit into 62 bits")
    return value
