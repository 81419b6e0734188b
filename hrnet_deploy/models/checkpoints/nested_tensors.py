"""The tensors in the content of a file, under dotted names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hrnet_deploy.limits import TENSOR_NAME
from hrnet_deploy.models.checkpoints.pickle_values import PickledObject
from hrnet_deploy.models.checkpoints.stored_tensor import StoredTensor, UnreadableTensor, tensor_of

Leaf = Tensor | StoredTensor | UnreadableTensor

_MAX_DEPTH = 64
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
    # Iterators instead of lists, so that only the names on one path are in memory.
    pending: list[Iterator[tuple[str, object]]] = [iter([("", content)])]
    while pending:
        path, value = next(pending[-1], (None, None))
        if path is None:
            pending.pop()
        elif id(value) not in seen and len(pending) <= _MAX_DEPTH:
            seen.add(id(value))
            yield from _tensors(path, value)
            pending.append(_containers(path, value))


def _tensors(path: str, value: object) -> Iterator[Entry]:
    """Yield the tensors of one container."""
    for key, child in _children(value):
        leaf = tensor_of(child) if isinstance(child, PickledObject) else child
        if isinstance(leaf, Leaf) and len(path) + len(key) <= TENSOR_NAME:
            yield Entry(f"{path}{key}", path, leaf)


def _containers(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield the containers in one container, and the prefixes of their names."""
    for key, child in _children(value):
        if isinstance(child, PickledObject):
            if tensor_of(child) is not None:
                continue
        elif not isinstance(child, (Mapping, list, tuple)) or not child:
            continue
        hidden = key in _MODULE_PARTS or not key
        if hidden or len(path) + len(key) < TENSOR_NAME:
            yield (path if hidden else f"{path}{key}."), child


def _children(value: object) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a container by name; those of an object that has only one of a kind need none."""
    if isinstance(value, Mapping):
        # The items of an object in memory may be hidden by an attribute.
        items = dict.items(value) if isinstance(value, dict) else value.items()
        yield from ((str(key), child) for key, child in items if _is_name(key))
    elif isinstance(value, (list, tuple)):
        yield from ((str(index), child) for index, child in enumerate(value))
    elif isinstance(value, PickledObject):
        yield from (("", part) for part in (value.entries, value.state, value.items, value.arguments) if part)


def _is_name(key: object) -> bool:
    """Whether a key may be a part of a name; the text of other keys can be endless."""
    return len(key) <= TENSOR_NAME if isinstance(key, (str, bytes)) else isinstance(key, (int, float, type(None)))


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
