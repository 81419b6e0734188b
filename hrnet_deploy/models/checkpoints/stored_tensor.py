"""Tensors as torch.save writes them: described by a pickle, with their numbers elsewhere in the file."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hrnet_deploy.models.checkpoints.inert_pickle import PickledName, PickledObject

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
_MAX_DIMENSIONS = 8


@dataclass(frozen=True)
class Storage:
    """A run of `count` numbers in the file, from `start` on where the storage is a part of another.

    Attributes:
        dtype: None for quantized numbers.
        read: from the key and a number of bytes to a uint8 tensor, mapped from the file.
        swapped: whether the byte order differs from this machine's.
    """

    dtype: torch.dtype | None
    key: str
    count: int
    read: Callable[[str, int], Tensor]
    swapped: bool = False
    start: int = 0


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that has not been read yet; `offset` is its first number in the storage."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def open(self) -> Tensor:
        """Map the tensor from the file; raises UnpicklingError where it exceeds its storage or the file."""
        step = self.dtype.itemsize
        stored = self.storage.dtype or torch.uint8
        numbers = (*self.shape, *self.stride, self.offset, self.storage.count, self.storage.start)
        if len(self.shape) != len(self.stride) or len(self.shape) > _MAX_DIMENSIONS or min(numbers, default=0) < 0:
            raise pickle.UnpicklingError("a tensor must have sizes and strides that are not negative")
        available = self.storage.count * stored.itemsize // step
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True))
        if math.prod(self.shape) and last >= available:
            raise pickle.UnpicklingError("a tensor must lie inside its storage")
        first = self.storage.start * stored.itemsize
        raw = self.storage.read(self.storage.key, first + self.storage.count * stored.itemsize)[first:]
        raw = raw[: available * step]
        if raw.storage_offset() % step or self.storage.swapped:
            raw = raw.clone()
        if self.storage.swapped:
            raw.untyped_storage().byteswap(self.dtype)  # type: ignore[no-untyped-call]
        numbers_there = raw.view(self.dtype)
        return numbers_there.as_strided(self.shape, self.stride, numbers_there.storage_offset() + self.offset)


@dataclass(frozen=True)
class UnreadableTensor:
    """A tensor without usable numbers, and the reason."""

    kind: str


def storage_of(pid: Any, read: Callable[[str, int], Tensor], *, swapped: bool) -> Storage | PickledObject:
    """Return the storage of a persistent id, or a placeholder for ids of another kind; `read` reads a storage.

    An id is ("storage", class, key, device, count) and, before PyTorch 1.6, a part of another storage.
    """
    if not isinstance(pid, tuple) or not pid or pid[0] != "storage":
        whole = pid[1] if isinstance(pid, tuple) and len(pid) > 1 else None
        return PickledObject(whole.name if isinstance(whole, PickledName) else "an unknown object")
    _, kind, key, _, count, *rest = pid
    if not isinstance(kind, PickledName) or not isinstance(count, int):
        raise pickle.UnpicklingError("a storage must have a class and a size")
    found = Storage(_STORAGES.get(kind.name.rpartition(".")[2]), str(key), count, read, swapped)
    if rest and rest[0] is not None:
        _, start, size = rest[0]
        found = replace(found, start=int(start), count=int(size))
    return found


def tensor_of(call: PickledObject) -> StoredTensor | UnreadableTensor | None:
    """Return the tensor that a recorded call of torch._utils._rebuild_... would create; None for other calls."""
    while call.name in _WRAPPERS or call.name in _SUBCLASS:
        if call.name in _SUBCLASS:
            function, _, arguments = call.arguments[:3]
            call = PickledObject(function.name, tuple(arguments))
        elif call.arguments and isinstance(call.arguments[0], PickledObject):
            call = call.arguments[0]
        else:
            return None
    if call.name in _TENSORS:
        storage, offset, shape, stride = call.arguments[:4]
        if not isinstance(storage, Storage):
            raise pickle.UnpicklingError("a tensor must have a storage")
        dtype = storage.dtype
        if call.name == _TYPED:
            named = getattr(torch, call.arguments[6].name.rpartition(".")[2], None)
            dtype = named if isinstance(named, torch.dtype) else None
        if dtype is None:
            return UnreadableTensor("quantized")
        return StoredTensor(storage, dtype, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))
    return next((UnreadableTensor(kind) for part, kind in _UNREADABLE if part in call.name), None)
