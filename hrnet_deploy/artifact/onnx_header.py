"""The header of an ONNX file, read without a runtime: metadata, operators, and input and output shapes.

The container is protocol buffers. Reading its tags takes milliseconds, skips all weights and needs no `onnx` package.
Source: onnx/onnx.proto (field numbers), protobuf.dev/programming-guides/encoding (wire format).
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hrnet_deploy.artifact.onnx_graph import GRAPH_INPUT, GRAPH_OUTPUT, Graph, read_graph
from hrnet_deploy.artifact.protobuf import Content, WireError, open_content
from hrnet_deploy.errors import HrnetDeployError

_MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA, _MODEL_FUNCTION = 7, 8, 14, 25
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_VALUE_NAME, _VALUE_TYPE = 1, 2
_CHUNK_BYTES = 1 << 20
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16"}
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "DynamicQuantizeLinear"})


def _no_graph() -> WireError:
    return WireError("it has no graph")


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
        graph: the nodes and small stored tensors, or why they cannot be read; for `check_graph`.
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
    graph: Graph | HrnetDeployError = field(default_factory=_no_graph, compare=False, repr=False)

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
    except HrnetDeployError as error:
        return OnnxHeader(graph=error)


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
    graphs: list[Graph] = []
    opset, newest, problem = 0, 0, ""
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
            graphs.append(read_graph(content, start, end))
        elif number == _MODEL_FUNCTION:
            problem = "it has functions. Inline them: onnx.inliner.inline_local_functions"
    if len(graphs) != 1:
        problem = problem or (f"it has {len(graphs)} graphs" if graphs else "it has no graph")
    graph = graphs[0] if len(graphs) == 1 else Graph()
    graph.problem = problem or graph.problem
    return _header(content, graphs, OnnxHeader(metadata, opset=opset, newest=newest, graph=graph))


def _header(content: Content, graphs: list[Graph], header: OnnxHeader) -> OnnxHeader:
    """Add what the graphs hold."""
    values = [span for graph in graphs for span in graph.values]
    tensors = [tensor for graph in graphs for tensor in graph.stored]
    ends: dict[int, dict[str, tuple[int | str, ...]]] = {GRAPH_INPUT: {}, GRAPH_OUTPUT: {}}
    dtypes: dict[str, str] = {}
    for kind, first, last in values:
        name = content.find(first, last, _VALUE_NAME)
        ends[kind][name], dtypes[name] = _shape(content, first, last), _dtype(content, first, last)
    stored = {tensor.name for tensor in tensors}
    nodes = collections.Counter(node.operator for graph in graphs for node in graph.nodes)
    # Before ONNX IR 4 every weight was also an input.
    shapes = {name: shape for name, shape in ends[GRAPH_INPUT].items() if name not in stored}
    return replace(
        header,
        operators=frozenset(nodes),
        inputs=shapes,
        nodes=dict(nodes),
        outputs=ends[GRAPH_OUTPUT],
        dtypes={name: dtype for name, dtype in dtypes.items() if name in shapes or name in ends[GRAPH_OUTPUT]},
        filters=frozenset(_DTYPES[one.kind] for one in tensors if len(one.shape) == 4 and one.kind in _DTYPES),
        external_files=frozenset(one.file for one in tensors if one.file is not None),
    )


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
