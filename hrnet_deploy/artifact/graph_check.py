"""The memory that an ONNX graph needs, known before a runtime opens it, and the files that it names.

A graph of a thousand bytes can request terabytes. So the size of every tensor is computed from the sizes of the inputs;
a graph is refused where a size is too large or cannot be known, as after a loop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from hrnet_deploy.artifact.onnx_graph import ITEM_BYTES, MAX_DEPTH, SMALL, STRING, Graph, Node, StoredTensor, Values
from hrnet_deploy.artifact.onnx_header import OnnxHeader
from hrnet_deploy.artifact.protobuf import WireError
from hrnet_deploy.artifact.shape_call import Call, Shape, UnknownSizeError
from hrnet_deploy.artifact.shape_values import output_values
from hrnet_deploy.artifact.tensor_shapes import output_shapes
from hrnet_deploy.errors import ArtifactError, HrnetDeployError, one_line
from hrnet_deploy.limits import (
    BATCH,
    GRAPH_FOLDED_BYTES,
    GRAPH_FOLDED_MACS,
    GRAPH_LIVE_BYTES,
    GRAPH_OPSET,
    GRAPH_TENSOR_BYTES,
    IMAGE_SIDE,
)
from hrnet_deploy.system.regular_file import open_regular

OPEN_SIZES = (1, 3, 224, 224)
"""Sizes that stand for open dimensions where a card gives none."""

_INT64 = 7
_WIDE = {"Shape": 8, "Size": 8, "ArgMax": 8, "ArgMin": 8, "TopK": 8, "Range": 8}
_WEIGHTED = {"Conv", "ConvInteger", "FusedConv", "QLinearConv", "ConvTranspose"}
_PRODUCTS = {"MatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "FusedMatMul", "QGemm"}
_DOMAINS = {"", "com.microsoft"}
_UNKNOWN = (UnknownSizeError, KeyError, IndexError, ValueError, TypeError, ArithmeticError)
_ADVICE = "Export it again with hrnet-export, or use a graph of an HRNet"


def check_graph(model: Path | bytes, name: str, header: OnnxHeader, sizes: Shape = OPEN_SIZES) -> None:
    """Refuse a graph whose tensors need more memory than the limits, or an unknown amount, and foreign file names.

    Args:
        model: an .onnx file, or the bytes of one.
        name: its name in errors.
        header: its header.
        sizes: sizes that stand for open dimensions of an input, by position.

    Raises:
        MissingFileError: there is no such file.
        ArtifactError: no ONNX graph, or one that is refused.
    """
    check_external_files(model, name, header)
    if header.newest > GRAPH_OPSET:  # a runtime may count up to it
        raise ArtifactError(
            f"{name} must have operators of a version up to {GRAPH_OPSET}, got {header.newest}. Export it again."
        )
    try:
        graph = header.graph
        if isinstance(graph, HrnetDeployError):
            raise graph
        if graph.problem:
            raise WireError(graph.problem)
        _Bound(graph, name).check(_inputs(header, name, sizes))
    except WireError as error:
        raise ArtifactError(
            f"{name} must be a model ONNX Runtime can open, got: a damaged file ({error}). {_ADVICE}."
        ) from error


def check_external_files(model: Path | bytes, name: str, header: OnnxHeader) -> None:
    """Refuse weights in other files than regular ones in the graph's own folder."""
    for location in header.external_files:
        parts = {*PurePosixPath(location).parts, *PureWindowsPath(location).parts}
        absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
        if not location or absolute or ".." in parts or isinstance(model, bytes) or "\0" in location:
            raise ArtifactError(
                f"weights of {name} must be in its own folder, got the file {location!r:.80}. Export it again."
            )
        weights = model.parent / location
        with open_regular(weights, f"weights of {name}", ArtifactError):
            if not weights.resolve().is_relative_to(model.parent.resolve()):
                raise ArtifactError(
                    f"weights of {name} must be in its own folder, got a link from {location!r:.80} to another. "
                    "Copy the file there."
                )


def _inputs(header: OnnxHeader, name: str, sizes: Shape) -> dict[str, Shape]:
    """Return the shape of each input, with sizes where they are open."""
    found: dict[str, Shape] = {}
    for entry, shape in header.inputs.items():
        usual = (*sizes, *[1] * len(shape))
        fixed = [usual[i] if isinstance(size, str) else size for i, size in enumerate(shape)]
        if fixed and not (0 <= fixed[0] <= BATCH and all(0 <= size <= IMAGE_SIDE for size in fixed[1:])):
            raise ArtifactError(
                f"input of {name} must have at most {BATCH} images of {IMAGE_SIDE} pixels a side, got "
                f"{tuple(shape)!s:.80}. {_ADVICE}."
            )
        found[entry] = tuple(fixed)
    return found


class _Bound:
    """The shapes, known numbers and bytes of a graph's tensors, filled node by node."""

    def __init__(self, graph: Graph, name: str) -> None:
        self._graph, self._name = graph, name
        self._shapes: dict[str, Shape] = {}
        self._values: dict[str, Values | StoredTensor] = {}
        self._item_bytes: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._constant: set[str] = set()
        self._computed: set[str] = set()
        self._live = self._folded = self._folded_macs = 0

    def check(self, inputs: Mapping[str, Shape]) -> None:
        """Compute all tensors; ArtifactError where a limit is exceeded."""
        for entry, shape in inputs.items():
            self._add(entry, shape, 4)
        self._walk(self._graph, depth=0)

    def _walk(self, graph: Graph, depth: int) -> None:
        """Compute the tensors of a graph, or of a branch inside it."""
        if depth > MAX_DEPTH:
            raise ArtifactError(f"{self._name} must have at most {MAX_DEPTH} graphs inside each other. {_ADVICE}.")
        last_use = {entry: i for i, node in enumerate(graph.nodes) for entry in node.inputs}
        for tensor in graph.stored:
            self._store(tensor)
        for index, node in enumerate(graph.nodes):
            made = self._branches(node, depth) if node.operator == "If" and not node.domain else self._outputs(node)
            if self._constant.issuperset(filter(None, node.inputs)):
                self._constant.update(node.outputs)
                self._folded += made
                try:
                    self._folded_macs += self._macs(node)
                except _UNKNOWN as error:
                    raise self._unknown(node, error) from error
                if self._folded > GRAPH_FOLDED_BYTES or self._folded_macs > GRAPH_FOLDED_MACS:
                    raise self._refused(node, "computes more constants than the limit of", GRAPH_FOLDED_BYTES)
                continue
            self._live += made
            if self._live > GRAPH_LIVE_BYTES:
                raise self._refused(node, "needs more memory than", GRAPH_LIVE_BYTES)
            for entry in dict.fromkeys(node.inputs):
                if last_use[entry] == index and entry in self._computed and entry not in self._constant:
                    self._live -= self._sizes[entry]

    def _branches(self, node: Node, depth: int) -> int:
        """Compute both branches of an If, and give its outputs the larger sizes; returns their bytes."""
        branches = [node.attribute(name) for name in ("then_branch", "else_branch")]
        if not all(isinstance(one, Graph) and len(one.outputs) >= len(node.outputs) for one in branches):
            raise WireError("it has an If without two branches")
        for branch in branches:
            self._walk(branch, depth + 1)
        for index, entry in enumerate(node.outputs):
            given = [one.outputs[index] for one in branches]
            if not all(one in self._shapes for one in given):
                raise WireError(f"a branch returns {given[0]!r:.60} or {given[1]!r:.60}, which nothing computes")
            largest = max(given, key=self._sizes.__getitem__)
            self._add(entry, self._shapes[largest], self._item_bytes[largest])
        self._computed.update(node.outputs)
        return sum(map(self._sizes.__getitem__, node.outputs))

    def _store(self, tensor: StoredTensor) -> None:
        tensor.check()
        if tensor.kind == STRING:
            raise ArtifactError(f"{self._name} must hold numbers, got a tensor of texts. {_ADVICE}.")
        self._add(tensor.name, tensor.shape, ITEM_BYTES.get(tensor.kind, 4))
        self._constant.add(tensor.name)
        self._values[tensor.name] = tensor

    def _outputs(self, node: Node) -> int:
        """Add a node's outputs; returns their bytes."""
        if node.domain not in _DOMAINS:
            raise ArtifactError(
                f"{self._name} must be a graph that ONNX Runtime runs, got {node.operator!r:.60}. It has operators of "
                f"{node.domain:.60}: export it without them."
            )
        missing = [entry for entry in node.inputs if entry and entry not in self._shapes]
        if missing:
            raise ArtifactError(
                f"{self._name} must be a model ONNX Runtime can open, got input {missing[0]!r:.60} of operator "
                f"{node.operator!r:.60} that nothing before it computes. Export it again."
            )
        call = Call(node, self._shapes, self._values)
        try:
            found = output_shapes(call)
            width = self._width(node)
        except _UNKNOWN as error:
            raise self._unknown(node, error) from error
        names = [entry for entry in node.outputs if entry]
        made = 0
        for entry, shape in zip(names, (*found, *[()] * len(names)), strict=False):
            size = self._add(entry, shape, width)
            made += size
            if size > GRAPH_TENSOR_BYTES or (shape and min(shape) < 0):
                raise self._refused(node, f"makes a tensor {tuple(shape)!s:.80}, more than", GRAPH_TENSOR_BYTES)
        self._computed.update(names)
        values = output_values(call) if len(names) == 1 and math.prod(self._shapes[names[0]]) <= SMALL else None
        if values is not None:
            self._values[names[0]] = values
        return made

    def _width(self, node: Node) -> int:
        """Return the bytes of a value of a node's outputs."""
        if node.operator == "Cast":
            kind = node.attribute("to", 1)
            if not isinstance(kind, int):
                raise UnknownSizeError("its type is no number")
            return ITEM_BYTES.get(kind, 4)
        if node.operator in {"Constant", "ConstantOfShape"}:
            fill = node.attribute("value")
            return ITEM_BYTES.get(fill.kind, 4) if isinstance(fill, StoredTensor) else 8
        known = self._item_bytes.get(node.inputs[0], 4) if node.inputs else 4
        return max(_WIDE.get(node.operator, 4), known)

    def _macs(self, node: Node) -> int:
        """Return the multiplications of a node."""
        made = math.prod(self._shapes[node.outputs[0]])
        if node.operator in _WEIGHTED:
            filters = [self._shapes[entry] for entry in node.inputs if len(self._shapes.get(entry, ())) > 2][-1:]
            return made * math.prod(filters[0][1:]) if filters else made
        return made * (self._shapes[node.inputs[0]] or (1,))[-1] if node.operator in _PRODUCTS else made

    def _add(self, entry: str, shape: Shape, item_bytes: int) -> int:
        """Add a tensor; returns its bytes."""
        shape = tuple(shape)
        self._shapes[entry], self._item_bytes[entry] = shape, item_bytes
        self._sizes[entry] = size = math.prod(shape) * item_bytes
        if len(shape) > 64:
            raise ArtifactError(
                f"{self._name} must have tensors of at most 64 dimensions, got {len(shape)}. {_ADVICE}."
            )
        return size

    def _unknown(self, node: Node, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"{self._name} must have tensors of known sizes, got operator {node.operator!r:.60} "
            f"({one_line(error, 120)}). {_ADVICE}."
        )

    def _refused(self, node: Node, what: str, limit: int) -> ArtifactError:
        return ArtifactError(
            f"{self._name} must fit into memory, got operator {node.operator!r:.60} that {what} {limit >> 20:,} MiB. "
            f"{_ADVICE}."
        )
