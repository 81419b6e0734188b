"""The header of an ONNX file, read without a runtime: metadata, operators, and input and output shapes.

The container is protocol buffers. Reading its tags takes milliseconds, skips all weights and needs no `onnx` package.
Source: onnx/onnx.proto (field numbers), protobuf.dev/programming-guides/encoding (wire format).
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hrnet_deploy.artifact.protobuf import Content, WireError, open_content
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.limits import GRAPH_NODES

_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 7, 8, 14
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_OP = 4
_TENSOR_DIMS, _TENSOR_DTYPE, _TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 2, 8, 13, 14
_EXTERNAL = 1
_VALUE_NAME, _VALUE_TYPE = 1, 2
_CHUNK_BYTES = 1 << 20
_MAX_RANK = 64
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
        newest: highest version of any operators.
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
    newest: int = 0

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
    """Read the header of an .onnx file or of its bytes; an empty one for other files, which `check_graph` refuses."""
    try:
        with open_content(model) as content:
            return _read(content)
    except (HrnetDeployError, WireError):
        return OnnxHeader()


def graph_sha256(model: Path | bytes) -> str:
    """Digest the graph alone, in hex: its nodes and the weights inside the file, but not the metadata.

    So a card inside the file can hold the digest. Weights in a file of their own are not covered. "" without a graph.
    """
    try:
        with open_content(model) as content:
            return _graph_sha256(content)
    except (HrnetDeployError, WireError):
        return ""


def _graph_sha256(content: Content) -> str:
    digest, found = hashlib.sha256(), False
    for number, start, end in content.fields(0, content.size):
        if number == _MODEL_GRAPH:
            found = True
            for position in range(start, end, _CHUNK_BYTES):
                digest.update(content.read(position, min(position + _CHUNK_BYTES, end)))
    return digest.hexdigest() if found else ""


def _read(content: Content) -> OnnxHeader:
    metadata: dict[str, str] = {}
    graph = _GraphHeader()
    opset = newest = 0
    for number, start, end in content.fields(0, content.size):
        if number == _MODEL_METADATA:
            key, value = (content.find(start, end, part) for part in (1, 2))
            metadata[key] = value
        elif number == _MODEL_OPSET:
            versions = [content.number(first) for first, _ in content.below(start, end, (_OPSET_VERSION,))]
            newest = max(newest, *versions, 0)
            if content.find(start, end, _OPSET_DOMAIN) in {"", "ai.onnx"}:
                opset = versions[-1] if versions else 0
        elif number == _MODEL_GRAPH:
            graph.read(content, start, end)
    # Before ONNX IR 4 every weight was also an input.
    shapes = {name: shape for name, shape in graph.inputs.items() if name not in graph.stored}
    used = {name: dtype for name, dtype in graph.dtypes.items() if name in shapes or name in graph.outputs}
    found = frozenset(graph.filters), frozenset(graph.external)
    return OnnxHeader(
        metadata, frozenset(graph.nodes), shapes, dict(graph.nodes), graph.outputs, used, *found, opset, newest
    )


class _GraphHeader:
    """What a GraphProto holds, without its weights."""

    def __init__(self) -> None:
        self.nodes: collections.Counter[str] = collections.Counter()
        self.inputs: dict[str, tuple[int | str, ...]] = {}
        self.outputs: dict[str, tuple[int | str, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self.stored: set[str] = set()
        self.filters: set[str] = set()
        self.external: set[str] = set()

    def read(self, content: Content, start: int, end: int) -> None:
        """Add the fields of a GraphProto."""
        count = 0
        for kind, first, last in content.fields(start, end):
            if kind == _GRAPH_NODE:
                self.nodes[content.find(first, last, _NODE_OP)] += 1
                count += 1
                if count > GRAPH_NODES:
                    raise WireError(f"it has more than {GRAPH_NODES:,} nodes")
            elif kind in {_GRAPH_INPUT, _GRAPH_OUTPUT}:
                name = content.find(first, last, _VALUE_NAME)
                (self.inputs if kind == _GRAPH_INPUT else self.outputs)[name] = _shape(content, first, last)
                self.dtypes[name] = _dtype(content, first, last)
            elif kind == _GRAPH_INITIALIZER:
                name, dtype, file = _tensor(content, first, last)
                self.stored.add(name)
                self.filters |= {dtype} - {""}
                if file is not None:
                    self.external.add(file)


def _shape(content: Content, start: int, end: int) -> tuple[int | str, ...]:
    """Read a shape from ValueInfoProto: type (2) > tensor_type (1) > shape (2) > dim (1) > value (1) | name (2)."""
    dims: list[int | str] = []
    for low, high in content.below(start, end, (_VALUE_TYPE, 1, 2)):
        for _, first, last in content.fields(low, high):
            size: int | str = "?"
            for kind, a, b in content.fields(first, last):
                size = content.number(a) if kind == 1 else content.text(a, b) or "?"
            dims.append(size)
    return tuple(dims)


def _dtype(content: Content, start: int, end: int) -> str:
    """Read the element type of a ValueInfoProto: type (2) > tensor_type (1) > elem_type (1)."""
    found = (content.number(first) for first, _ in content.below(start, end, (_VALUE_TYPE, 1, 1)))
    return _DTYPES.get(next(found, 0), "")


def _tensor(content: Content, start: int, end: int) -> tuple[str, str, str | None]:
    """Read a TensorProto: its name, its type ("" without four dimensions), and the file that has its values, if any."""
    name, dtype, location, external, rank = "", "", "", False, 0
    for number, first, last in content.fields(start, end):
        if number == _TENSOR_NAME:
            name = content.text(first, last)
        elif number == _TENSOR_DTYPE:
            dtype = _DTYPES.get(content.number(first), "")
        elif number == _TENSOR_LOCATION:
            external = content.number(first) == _EXTERNAL
        elif number == _TENSOR_EXTERNAL and content.find(first, last, 1) == "location":
            location = content.find(first, last, 2)
        elif number == _TENSOR_DIMS:  # packed, or one per field
            rank += len(content.numbers(first, last, limit=_MAX_RANK))
    return name, dtype if rank == 4 else "", location if external else None
