"""The nodes and stored tensors of an ONNX graph, read without a runtime and without the values of large tensors.

Source: onnx/onnx.proto (field numbers).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.protobuf import SHORT_BYTES, Content, Part, Span, WireError, varint, varints
from hrnet_deploy.limits import GRAPH_NODES

SMALL = 64
"""Number of values up to which a tensor is read: sizes, scales and axes."""
STRING = 8
"""Type of a tensor of texts."""
ITEM_BYTES: Mapping[int, int] = {2: 1, 3: 1, 4: 2, 5: 2, 7: 8, 9: 1, 10: 2, 11: 8, 13: 8, 14: 8, 15: 16, 16: 2}
"""Bytes of a value by its type, where they are not four."""

MAX_DEPTH = 8
"""Graphs inside each other, as branches."""
GRAPH_INPUT, GRAPH_OUTPUT = 11, 12
"""Numbers of the fields in `Graph.values`."""

_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_NAMES, _ATTRIBUTE = frozenset({1, 2, 4, 7}), 5
_TENSOR_PARTS = frozenset({1, 2, 8, 13, 14})
_EXTERNAL_DATA, _LOCATION, _EXTERNAL = 13, 14, 1
_MAX_RANK = 64
_MAX_VARINT_BYTES = 10
_FLOATS, _RAW = 4, 9
_NUMBERS = {_FLOATS, 5, 7, _RAW}
_RAW_TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}

Values = NDArray[Any]


class StoredTensor(NamedTuple):
    """A TensorProto, whose numbers are converted when they are needed.

    Attributes:
        data: fields that hold the values, with their numbers; empty for many values.
        file: path of the file that holds the values; None where they are in the graph.
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    data: tuple[tuple[int, bytes], ...]
    file: str | None

    def check(self) -> StoredTensor:
        """Return the tensor; WireError for a negative size."""
        if self.shape and min(self.shape) < 0:
            raise WireError(f"it has a tensor of the shape {self.shape!s:.60}")
        return self

    def values(self) -> Values | None:
        """Return the numbers; None for many, for other types, and for external data."""
        return _values(self.data, self.kind, self.shape) if self.data else None


class Attributes:
    """The attributes of a node, or of several with equal ones, read when they are needed."""

    def __init__(self, messages: list[bytes], depth: int) -> None:
        self._messages, self._depth = messages, depth
        self._found: dict[str, Any] | None = None

    def get(self, name: str) -> Any:
        """Return an attribute; None without it, WireError for damaged ones."""
        if self._found is None:
            self._found = _attributes(((Content(one), 0, len(one)) for one in self._messages), self._depth)
        return self._found.get(name)


class _ReadAttributes(Attributes):
    """Large attributes, which are read while the file is open; an error is kept for the node that needs them."""

    def __init__(self, content: Content, spans: list[Span], depth: int) -> None:
        super().__init__([], depth)
        self._error: WireError | None = None
        try:
            self._found = _attributes(((content, first, last) for _, first, last in spans), depth)
        except WireError as error:
            self._error = error

    def get(self, name: str) -> Any:
        """Return an attribute, as for small ones."""
        if self._error is not None:
            raise self._error
        return super().get(name)


class Node:
    """A NodeProto."""

    __slots__ = ("attributes", "domain", "inputs", "operator", "outputs")

    def __init__(self) -> None:
        self.operator = self.domain = ""
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.attributes: Attributes | None = None

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute: a number, a list of numbers, a text, a StoredTensor or a Graph."""
        found = None if self.attributes is None else self.attributes.get(name)
        return default if found is None else found


@dataclass
class Graph:
    """A graph, which is complete without its file.

    Attributes:
        outputs: names of the tensors that it returns.
        values: fields of its inputs and outputs.
        problem: why it is no graph of an image model; "" where it may be one.
    """

    outputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    stored: list[StoredTensor] = field(default_factory=list)
    values: list[Span] = field(default_factory=list)
    problem: str = ""


def read_graph(content: Content, start: int, end: int, depth: int = 0) -> Graph:
    """Read a GraphProto.

    Args:
        content: the file.
        start: first byte of the graph.
        end: byte behind it.
        depth: number of graphs around it.

    Raises:
        WireError: a damaged graph, or one with more nodes than the limit.
    """
    if depth > MAX_DEPTH:
        raise WireError(f"it has more than {MAX_DEPTH} graphs inside each other")
    try:
        return _graph(content, start, end, depth)
    except UnicodeDecodeError as error:
        raise WireError("it has a name or text that is not UTF-8") from error


def _graph(content: Content, start: int, end: int, depth: int) -> Graph:
    graph, known = Graph(), dict[tuple[bytes, ...], Attributes]()
    for span in content.fields(start, end):
        kind, first, last = span
        if kind == _GRAPH_NODE:
            graph.nodes.append(_node(content, first, last, depth, known))
            if len(graph.nodes) > GRAPH_NODES:
                raise WireError(f"it has more than {GRAPH_NODES:,} nodes")
        elif kind == _GRAPH_INITIALIZER:
            graph.stored.append(read_tensor(content, first, last))
        elif kind == GRAPH_INPUT:
            graph.values.append(span)
        elif kind == GRAPH_OUTPUT:
            graph.values.append(span)
            graph.outputs.append(content.find(first, last, 1))
        elif kind == _GRAPH_SPARSE:
            graph.problem = "it has sparse weights"
    return graph


def _node(content: Content, start: int, end: int, depth: int, known: dict[tuple[bytes, ...], Attributes]) -> Node:
    """Read a NodeProto; `known` has the attributes of earlier nodes, which most convolutions repeat."""
    node, attributes = Node(), list[bytes]()
    inputs, outputs = node.inputs, node.outputs
    for number, raw in content.parts(start, end, _NODE_NAMES):
        if number == 1:
            inputs.append(str(raw, "utf-8"))
        elif number == 2:
            outputs.append(str(raw, "utf-8"))
        elif number == 4:
            node.operator = str(raw, "utf-8")
        elif number == _ATTRIBUTE:
            attributes.append(raw)
        elif number == 7 and raw and raw != b"ai.onnx":
            node.domain = str(raw, "utf-8")
    if attributes and end - start > SHORT_BYTES:
        spans = [span for span in content.fields(start, end) if span[0] == _ATTRIBUTE]
        node.attributes = _ReadAttributes(content, spans, depth)
    elif attributes:
        key = tuple(attributes)
        node.attributes = known.get(key) or known.setdefault(key, Attributes(attributes, depth))
    return node


def read_tensor(content: Content, start: int, end: int) -> StoredTensor:
    """Read a TensorProto, and its values where they are few."""
    name, kind, location, external = "", 0, "", False
    shape: list[int] = []
    data: list[Part] = []
    for number, raw in content.parts(start, end, _TENSOR_PARTS):
        if number == 1:  # packed, or one per field
            shape += varints(raw, limit=_MAX_RANK)
            if len(shape) > _MAX_RANK:
                raise WireError(f"it has a tensor of more than {_MAX_RANK} dimensions")
        elif number == 2:
            kind = varint(raw)
        elif number == 8:
            name = str(raw, "utf-8")
        elif number in _NUMBERS:
            data.append((number, raw))
        elif number == _LOCATION:
            external = varint(raw) == _EXTERNAL
        elif number == _EXTERNAL_DATA:
            entry = Content(raw)
            if entry.find(0, entry.size, 1) == "location":
                location = entry.find(0, entry.size, 2)
    few = not shape or math.prod(shape) <= SMALL
    return StoredTensor(name, kind, tuple(shape), tuple(data) if few else (), location if external else None)


def _values(data: tuple[tuple[int, bytes], ...], kind: int, shape: tuple[int, ...]) -> Values | None:
    """Convert the values of a small tensor; None where they do not fill its shape."""
    found: list[Any] = []
    for number, raw in data:
        if number == _RAW:
            if kind not in _RAW_TYPES or len(raw) % np.dtype(_RAW_TYPES[kind]).itemsize:
                return None
            found += np.frombuffer(raw, _RAW_TYPES[kind]).tolist()
        elif number == _FLOATS:
            found += _floats(raw)
        else:
            found += varints(raw, limit=SMALL)
    if len(found) != math.prod(shape):
        return None
    return np.array(found, np.float64 if kind in {1, 10, 11} else np.int64).reshape(shape)


def _floats(raw: bytes) -> list[float]:
    count = len(raw) // 4
    if count > SMALL:
        raise WireError(f"it has a list of more than {SMALL} numbers")
    return list(struct.unpack_from(f"<{count}f", raw))


def _attributes(places: Iterable[tuple[Content, int, int]], depth: int) -> dict[str, Any]:
    try:
        return dict(_attribute(content, start, end, depth) for content, start, end in places)
    except UnicodeDecodeError as error:
        raise WireError("it has a name or text that is not UTF-8") from error


def _attribute(content: Content, start: int, end: int, depth: int) -> tuple[str, Any]:
    """Read an AttributeProto: name (1), f (2), i (3), s (4), t (5), g (6), floats (7) or ints (8)."""
    listed: list[Any] = []
    name, found = "", cast("Any", None)
    for number, first, last in content.fields(start, end):
        if number == 1:
            name = content.text(first, last)
        elif number == 2:
            found = next(iter(_floats(content.read(first, last))), None)
        elif number == 3:
            found = varint(content.read(first, last))
        elif number == 4:
            found = content.text(first, last)
        elif number == 5:
            found = read_tensor(content, first, last).check()
        elif number == 6:
            found = read_graph(content, first, last, depth + 1)
        elif number in {7, 8} and last - first > _MAX_VARINT_BYTES * SMALL:
            raise WireError(f"it has a list of more than {SMALL} numbers")
        elif number == 7:
            listed += _floats(content.read(first, last))
        elif number == 8:
            listed += varints(content.read(first, last), limit=SMALL)
    return name, listed or found
