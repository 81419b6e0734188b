"""The header of an ONNX file, read without a runtime: metadata, operators, and input and output shapes.

The container is protocol buffers. Reading its tags takes milliseconds, skips all weights and needs no `onnx` package.
Source: onnx/onnx.proto (field numbers), protobuf.dev/programming-guides/encoding (wire format).
"""

from __future__ import annotations

import collections
import hashlib
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

_Buffer: TypeAlias = "bytes | mmap.mmap"

_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 7, 8, 14
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_OP = 4
_TENSOR_DIMS, _TENSOR_DTYPE, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 2, 8, 13, 14
_EXTERNAL = 1
_VALUE_NAME, _VALUE_TYPE = 1, 2
_CHUNK_BYTES = 1 << 20
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16"}
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "DynamicQuantizeLinear"})


@dataclass(frozen=True)
class OnnxHeader:
    """A graph without its weights.

    Attributes:
        metadata: the file's string metadata.
        inputs: shape by input; a string is an open dimension.
        nodes: number of nodes of the main graph by operator.
        outputs: declared shape by output; () without one.
        dtypes: NumPy's names of the types of inputs and outputs; "" for others.
        filters: the same for stored tensors of four dimensions, the weights of convolutions.
        external_files: paths of the files that hold weights of the main graph, relative to the file's folder.
        opset: version of ONNX's own operators; 0 if the file has none.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    operators: frozenset[str] = frozenset()
    inputs: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    nodes: Mapping[str, int] = field(default_factory=dict)
    outputs: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    filters: frozenset[str] = frozenset()
    external_files: frozenset[str] = frozenset()
    opset: int = 0

    @property
    def external(self) -> bool:
        """Whether some weights are in other files."""
        return bool(self.external_files)

    @property
    def half(self) -> bool:
        """Whether the graph convolves in FP16, by the types of its weights, inputs and outputs."""
        return "float16" in {*self.filters, *self.dtypes.values()}

    @property
    def quantized(self) -> bool:
        """Whether the graph computes in INT8 somewhere."""
        return bool(self.operators & _QUANTIZED)

    @property
    def open_sizes(self) -> bool:
        """Whether anything but the first dimension, the batch, is open."""
        return any(isinstance(size, str) for shape in self.inputs.values() for size in shape[1:])

    @property
    def complete(self) -> bool:
        """Whether inputs and outputs have types and shapes, and the open sizes of outputs are those of inputs."""
        shapes = {**self.inputs, **self.outputs}
        known = all(self.dtypes.get(name) and shape and "?" not in shape for name, shape in shapes.items())
        input_sizes, output_sizes = (
            {size for shape in group.values() for size in shape if isinstance(size, str)}
            for group in (self.inputs, self.outputs)
        )
        return known and output_sizes <= input_sizes and bool(self.inputs) and bool(self.outputs)


def read_header(model: Path | bytes) -> OnnxHeader:
    """Read the header of an .onnx file or of its bytes; an empty one for other files, which the runtime refuses."""
    try:
        if isinstance(model, bytes):
            return _read(model)
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _read(content)
    except (OSError, ValueError, IndexError):
        return OnnxHeader()


def graph_sha256(model: Path | bytes) -> str:
    """Digest the graph alone, in hex: its nodes and the weights inside the file, but not the metadata.

    So a card inside the file can hold the digest. Weights in a file of their own are not covered. "" without a graph.
    """
    try:
        if isinstance(model, bytes):
            return _graph_sha256(model)
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _graph_sha256(content)
    except (OSError, ValueError, IndexError):
        return ""


def _graph_sha256(content: _Buffer) -> str:
    digest, found = hashlib.sha256(), False
    for number, start, end in _fields(content, 0, len(content)):
        if number == _MODEL_GRAPH:
            found = True
            for position in range(start, end, _CHUNK_BYTES):
                digest.update(content[position : min(position + _CHUNK_BYTES, end)])
    return digest.hexdigest() if found else ""


def _read(content: _Buffer) -> OnnxHeader:
    metadata: dict[str, str] = {}
    nodes: collections.Counter[str] = collections.Counter()
    inputs: dict[str, tuple[int | str, ...]] = {}
    outputs: dict[str, tuple[int | str, ...]] = {}
    dtypes: dict[str, str] = {}
    stored: set[str] = set()
    filters: set[str] = set()
    external: set[str] = set()
    opset = 0
    for number, start, end in _fields(content, 0, len(content)):
        if number == _MODEL_METADATA:
            key, value = (_text(content, start, end, part) for part in (1, 2))
            metadata[key] = value
        elif number == _MODEL_OPSET and _text(content, start, end, _OPSET_DOMAIN) in {"", "ai.onnx"}:
            versions = (_varint(content, first)[0] for first, _ in _below(content, start, end, (_OPSET_VERSION,)))
            opset = next(versions, 0)
        elif number == _MODEL_GRAPH:
            for kind, first, last in _fields(content, start, end):
                if kind == _GRAPH_NODE:
                    nodes[_text(content, first, last, _NODE_OP)] += 1
                elif kind in {_GRAPH_INPUT, _GRAPH_OUTPUT}:
                    name = _text(content, first, last, _VALUE_NAME)
                    (inputs if kind == _GRAPH_INPUT else outputs)[name] = _shape(content, first, last)
                    dtypes[name] = _dtype(content, first, last)
                elif kind == _GRAPH_INITIALIZER:
                    name, dtype, file = _tensor(content, first, last)
                    stored.add(name)
                    filters |= {dtype} - {""}
                    if file is not None:
                        external.add(file)
    # Before ONNX IR 4 every weight was also an input.
    shapes = {name: shape for name, shape in inputs.items() if name not in stored}
    used = {name: dtype for name, dtype in dtypes.items() if name in shapes or name in outputs}
    found = frozenset(filters), frozenset(external)
    return OnnxHeader(metadata, frozenset(nodes), shapes, dict(nodes), outputs, used, *found, opset)


def _shape(content: _Buffer, start: int, end: int) -> tuple[int | str, ...]:
    """Read a shape from ValueInfoProto: type (2) > tensor_type (1) > shape (2) > dim (1) > value (1) | name (2)."""
    dims: list[int | str] = []
    for low, high in _below(content, start, end, (_VALUE_TYPE, 1, 2)):
        for _, first, last in _fields(content, low, high):
            size: int | str = "?"
            for kind, a, b in _fields(content, first, last):
                size = _varint(content, a)[0] if kind == 1 else str(content[a:b], "utf-8") or "?"
            dims.append(size)
    return tuple(dims)


def _dtype(content: _Buffer, start: int, end: int) -> str:
    """Read the element type of a ValueInfoProto: type (2) > tensor_type (1) > elem_type (1)."""
    found = (_varint(content, first)[0] for first, _ in _below(content, start, end, (_VALUE_TYPE, 1, 1)))
    return _DTYPES.get(next(found, 0), "")


def _tensor(content: _Buffer, start: int, end: int) -> tuple[str, str, str | None]:
    """Read a TensorProto: its name, its type ("" without four dimensions), and the file that has its values, if any."""
    name, dtype, location, external, rank = "", "", "", False, 0
    for number, first, last in _fields(content, start, end):
        if number == _TENSOR_NAME:
            name = str(content[first:last], "utf-8")
        elif number == _TENSOR_DTYPE:
            dtype = _DTYPES.get(_varint(content, first)[0], "")
        elif number == _TENSOR_LOCATION:
            external = _varint(content, first)[0] == _EXTERNAL
        elif number == _TENSOR_EXTERNAL and _text(content, first, last, 1) == "location":
            location = _text(content, first, last, 2)
        while number == _TENSOR_DIMS and first < last:  # packed, or one per field
            first = _varint(content, first)[1]  # noqa: PLW2901
            rank += 1
    return name, dtype if rank == 4 else "", location if external else None


def _below(content: _Buffer, start: int, end: int, path: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the spans of the fields at a path of field numbers."""
    spans = [(start, end)]
    for number in path:
        spans = [(a, b) for low, high in spans for kind, a, b in _fields(content, low, high) if kind == number]
    return spans


def _text(content: _Buffer, start: int, end: int, number: int) -> str:
    for kind, first, last in _fields(content, start, end):
        if kind == number:
            return str(content[first:last], "utf-8")
    return ""


def _fields(content: _Buffer, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Iterate over the fields of a message as (number, start, end) of the content."""
    position = start
    while position < end:
        tag, position = _varint(content, position)
        wire = tag & 7
        if wire == 0:
            after = _varint(content, position)[1]
        elif wire == 2:
            length, position = _varint(content, position)
            after = position + length
        elif wire in {1, 5}:
            after = position + (8 if wire == 1 else 4)
        else:
            raise ValueError(f"wire type {wire}")
        if after > end:
            raise ValueError("a field reaches beyond its message")
        yield tag >> 3, position, after
        position = after


def _varint(content: _Buffer, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")
