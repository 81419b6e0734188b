"""Edits that several exporters make to a graph."""

from __future__ import annotations

from collections.abc import Iterable

import onnx


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a deep copy."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Replace a graph's nodes; the new ones may be some of its own."""
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def read_names(graph: onnx.GraphProto) -> set[str]:
    """Return the names that nodes read or outputs show."""
    return {name for node in graph.node for name in node.input} | {value.name for value in graph.output}


def drop_unused_tensors(graph: onnx.GraphProto) -> None:
    """Remove the initializers that nothing reads."""
    used = read_names(graph)
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
