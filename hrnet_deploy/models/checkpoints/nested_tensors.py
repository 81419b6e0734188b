"""The tensors in the content of a file, under dotted names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hrnet_deploy.models.checkpoints.inert_pickle import PickledObject
from hrnet_deploy.models.checkpoints.stored_tensor import StoredTensor, UnreadableTensor, tensor_of

Leaf = Tensor | StoredTensor | UnreadableTensor

_MAX_DEPTH = 64
_MAX_NAME = 1000
# Attributes of nn.Module; a state dict leaves them out of its names.
_MODULE_PARTS = frozenset({"_parameters", "_buffers", "_modules"})


@dataclass(frozen=True)
class Entry:
    """One tensor: its keys from the outermost container, joined by dots, and the prefix of its own container."""

    name: str
    container: str
    leaf: Leaf


def tensors_in(content: object) -> Iterator[Entry]:
    """Walk dicts, lists and objects once each, and yield their tensors in stored order."""
    seen: set[int] = set()
    pending: list[tuple[str, int, Any]] = [("", 0, content)]
    while pending:
        path, depth, value = pending.pop()
        if id(value) in seen or depth > _MAX_DEPTH or len(path) > _MAX_NAME:
            continue
        seen.add(id(value))
        below: list[tuple[str, int, Any]] = []
        for key, child in _children(value):
            leaf = tensor_of(child) if isinstance(child, PickledObject) else child
            name = f"{path}{key}"
            if isinstance(leaf, Leaf):
                yield Entry(name, path, leaf)
            elif isinstance(child, (Mapping, list, tuple, PickledObject)):
                hidden = key in _MODULE_PARTS or not key
                below.append((path if hidden else f"{name}.", depth + 1, child))
        pending += reversed(below)


def _children(value: object) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a container by name; those of an object that has only one of a kind need none."""
    if isinstance(value, Mapping):
        yield from ((str(key), child) for key, child in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((str(index), child) for index, child in enumerate(value))
    elif isinstance(value, PickledObject):
        yield from (("", part) for part in (value.entries, value.state, value.items, value.arguments) if part)


def values_named(content: object, key: str) -> Iterator[object]:
    """Yield everything that any dict in a file holds under one key."""
    seen: set[int] = set()
    pending: list[Any] = [content]
    while pending:
        value = pending.pop()
        if id(value) in seen or not isinstance(value, (Mapping, list, tuple, PickledObject)):
            continue
        seen.add(id(value))
        for name, child in _children(value):
            if name == key:
                yield child
            pending.append(child)
