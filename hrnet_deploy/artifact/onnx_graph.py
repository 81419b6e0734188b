"""The nodes and stored tensors of an ONNX graph, read without a runtime and without the values of large tensors.

Source: onnx/onnx.proto (field numbers).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.protobuf import Content, Span, WireError, signed
from hrnet_deploy.limits import GRAPH_NODES

SMALL = 64
"""Number of values up to which a tensor is read: sizes, scales and axes."""
STRING = 8
"""Type of a tensor of texts."""
ITEM_BYTES: Mapping[int, int] = {2: 1, 3: 1, 4: 2, 5: 2, 7: 8, 9: 1, 10: 2, 11: 8, 13: 8, 14: 8, 15: 16, 16: 2}
"""Bytes of a value by its type, where they are not four."""

_MODEL_GRAPH, _MODEL_FUNCTION = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 12, 15
_MAX_RANK = 64
_SHORT_BYTES = 512
_FLOATS, _RAW = 4, 9
_NUMBERS = {_FLOATS, 5, 7, _RAW}
_RAW_TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}

Values = NDArray[Any]


@dataclass(frozen=True)
class StoredTensor:
    """A TensorProto, whose numbers are read when they are needed."""

    name: str
    kind: int
    shape: tuple[int, ...]
    spans: tuple[Span, ...]
    content: Content

    def values(self) -> Values | None:
        """Return the numbers; None for many, for other types, and for external data."""
        small = self.spans and math.prod(self.shape) <= SMALL
        return _values(self.content, self.spans, self.kind, self.shape) if small else None


class Node:
    """A NodeProto, whose attributes are read when they are needed."""

    __slots__ = ("_attributes", "_content", "_spans", "domain", "inputs", "operator", "outputs")

    def __init__(self, content: Content, start: int, end: int) -> None:
        self.operator = self.domain = ""
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self._spans: list[Span] = []
        self._content = content
        self._attributes: dict[str, Any] | None = None
        for number, first, last in content.fields(start, end):
            if number == 1:
                self.inputs.append(content.text(first, last))
            elif number == 2:
                self.outputs.append(content.text(first, last))
            elif number == 4:
                self.operator = content.text(first, last)
            elif number == 5:
                self._spans.append((number, first, last))
            elif number == 7 and last - first and (domain := content.text(first, last)) != "ai.onnx":
                self.domain = domain

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute: a number, a list of numbers, a text, a StoredTensor or a Graph."""
        if self._attributes is None:
            self._attributes = _attributes(self._content, self._spans)
        found = self._attributes.get(name)
        return default if found is None else found


@dataclass
class Graph:
    """A graph; `outputs` names the tensors that it returns."""

    outputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    stored: dict[str, StoredTensor] = field(default_factory=dict)


def read_graph(content: Content) -> Graph:
    """Read the main graph; WireError for a damaged model, and for one with functions or sparse tensors."""
    graph, graphs = Graph(), 0
    for number, start, end in content.fields(0, content.size):
        if number == _MODEL_FUNCTION:
            raise WireError("it has functions. Inline them: onnx.inliner.inline_local_functions")
        if number != _MODEL_GRAPH:
            continue
        graphs += 1
        graph = _graph(content, start, end)
    if graphs != 1:
        raise WireError("it has no graph" if not graphs else f"it has {graphs} graphs")
    return graph


def _graph(content: Content, start: int, end: int) -> Graph:
    """Read a GraphProto."""
    graph = Graph()
    for kind, first, last in content.fields(start, end):
        if kind == _GRAPH_NODE:
            graph.nodes.append(Node(content, first, last))
            if len(graph.nodes) > GRAPH_NODES:
                raise WireError(f"it has more than {GRAPH_NODES:,} nodes")
        elif kind == _GRAPH_INITIALIZER:
            tensor = read_tensor(content, first, last)
            graph.stored[tensor.name] = tensor
        elif kind == _GRAPH_OUTPUT:
            graph.outputs.append(content.find(first, last, 1))
        elif kind == _GRAPH_SPARSE:
            raise WireError("it has sparse weights")
    return graph


def read_tensor(content: Content, start: int, end: int) -> StoredTensor:
    """Read a TensorProto."""
    name, kind = "", 0
    shape: list[int] = []
    spans: list[Span] = []
    for number, first, last in content.fields(start, end):
        if number == 8:
            name = content.text(first, last)
        elif number == 2:
            kind = content.number(first)
        elif number == 1:
            shape += [signed(value) for value in content.numbers(first, last, limit=_MAX_RANK)]
        elif number in _NUMBERS:
            spans.append((number, first, last))
    if len(shape) > _MAX_RANK or (shape and min(shape) < 0):
        raise WireError(f"it has a tensor of the shape {tuple(shape)!s:.60}")
    return StoredTensor(name, kind, tuple(shape), tuple(spans), content)


def _values(content: Content, spans: tuple[Span, ...], kind: int, shape: tuple[int, ...]) -> Values | None:
    """Read the values of a small tensor; None where they do not fill its shape."""
    found: list[Any] = []
    for number, first, last in spans:
        if last - first > 8 * SMALL and number != _FLOATS:
            return None
        if number == _RAW:
            if kind not in _RAW_TYPES or (last - first) % np.dtype(_RAW_TYPES[kind]).itemsize:
                return None
            found += np.frombuffer(content.read(first, last), _RAW_TYPES[kind]).tolist()
        elif number == _FLOATS:
            found += _floats(content, first, last)
        else:
            found += [signed(value) for value in content.numbers(first, last, limit=SMALL)]
    if len(found) != math.prod(shape):
        return None
    return np.array(found, np.float64 if kind in {1, 10, 11} else np.int64).reshape(shape)


def _floats(content: Content, first: int, last: int) -> list[float]:
    count = (last - first) // 4
    if count > SMALL:
        raise WireError(f"it has a list of more than {SMALL} numbers")
    return list(struct.unpack(f"<{count}f", content.read(first, first + 4 * count)))


def _attributes(content: Content, spans: list[Span]) -> dict[str, Any]:
    """Read the attributes of a node; equal ones, which most convolutions have, are read once."""
    if not spans:
        return {}
    start, end = spans[0][1], spans[-1][2]
    key = content.read(start, end) if end - start <= _SHORT_BYTES else None
    found = content.remembered.get(key) if key is not None else None
    if found is None:
        found = dict(_attribute(content, first, last) for _, first, last in spans)
        if key is not None and not any(isinstance(value, StoredTensor | Graph) for value in found.values()):
            content.remembered[key] = found
    return found


def _attribute(content: Content, start: int, end: int) -> tuple[str, Any]:
    """Read an AttributeProto: name (1), f (2), i (3), s (4), t (5), g (6), floats (7) or ints (8)."""
    listed: list[Any] = []
    name, found = "", cast("Any", None)
    for number, first, last in content.fields(start, end):
        if number == 1:
            name = content.text(first, last)
        elif number == 2:
            found = _floats(content, first, last)[0]
        elif number == 3:
            found = signed(content.number(first))
        elif number == 4:
            found = content.text(first, last)
        elif number == 5:
            found = read_tensor(content, first, last)
        elif number == 6:
            found = _graph(content, first, last)
        elif number == 7:
            listed += _floats(content, first, last)
        elif number == 8:
            listed += [signed(value) for value in content.numbers(first, last, limit=SMALL)]
    return name, listed or found
