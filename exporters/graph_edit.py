"""Copies, edits and inferred types of a graph."""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx
from onnx import helper

_SMALL = 1024
"""Elements up to which an initializer may be a shape or a Resize target, whose content inference needs."""
Dim = int | str | None
"""A number, a name, or open."""


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a deep copy."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def without_weights(
    model: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto] | None = None,
    outputs: Iterable[onnx.ValueInfoProto] | None = None,
) -> onnx.ModelProto:
    """Copy a model without initializers and inferred types, with other nodes or outputs where they are given."""
    copy = onnx.ModelProto(ir_version=model.ir_version)
    copy.opset_import.extend(model.opset_import)
    copy.functions.extend(model.functions)
    copy.metadata_props.extend(model.metadata_props)
    copy.graph.name = model.graph.name
    copy.graph.node.extend(model.graph.node if nodes is None else nodes)
    copy.graph.input.extend(model.graph.input)
    copy.graph.output.extend(model.graph.output if outputs is None else outputs)
    return copy


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Replace a graph's nodes; the new ones may be some of its own."""
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def replace_outputs(graph: onnx.GraphProto, *outputs: tuple[str, int, list[Dim]]) -> None:
    """Replace a graph's outputs by tensors of these names, element types and shapes."""
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(*output) for output in outputs)


def dims_of(tensor: onnx.TypeProto.Tensor) -> list[Dim]:
    """List the declared sizes of a value."""
    return [dim.dim_param or dim.dim_value or None for dim in tensor.shape.dim]


def read_names(graph: onnx.GraphProto) -> set[str]:
    """Return the names that nodes read or outputs show."""
    return {name for node in graph.node for name in node.input} | {value.name for value in graph.output}


def drop_unused_tensors(graph: onnx.GraphProto) -> None:
    """Remove the initializers that nothing reads."""
    used = read_names(graph)
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def value_types(model: onnx.ModelProto, *, strict: bool = False) -> dict[str, onnx.TypeProto.Tensor]:
    """Infer element type and shape by name, of graph inputs and computed values.

    Weights are declared, not copied, so a wide model costs no memory. With `strict` a contradiction raises
    `onnx.shape_inference.InferenceError`.
    """
    skeleton = without_weights(model)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            skeleton.graph.initializer.append(tensor)
        else:
            skeleton.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    # Data propagation follows the Shape-Slice-Concat chains that compute sizes.
    inferred = onnx.shape_inference.infer_shapes(skeleton, check_type=strict, strict_mode=strict, data_prop=True).graph
    weights = {tensor.name for tensor in model.graph.initializer}
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {v.name: v.type.tensor_type for v in values if v.name not in weights}
