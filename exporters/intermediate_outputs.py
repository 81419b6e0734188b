"""Graphs whose outputs are intermediate values, serialized without a copy of the weights."""

from __future__ import annotations

import io
from collections.abc import Iterable

import onnx
from onnx import AttributeProto, TensorProto, helper

from hrnet_deploy.exporters.graph_edit import value_types, without_weights

_SUFFIX = "/tap"
_GRAPH, _INITIALIZER = b"\x3a", b"\x2a"
"""Tags of ModelProto.graph (7) and GraphProto.initializer (5). Source: onnx.proto, protobuf.dev (encoding)."""


def expose_tensors(model: onnx.ModelProto, values: Iterable[str]) -> tuple[bytes, dict[str, str]]:
    """Make float values of a graph, or its inputs, its only outputs; return bytes, and the values by output name."""
    inputs = {v.name for v in model.graph.input}
    # A graph input cannot be an output itself.
    outputs = {f"{name}{_SUFFIX}" if name in inputs else name: name for name in values}
    producers = needed(list(model.graph.node), frozenset(outputs.values()))
    copies = [helper.make_node("Identity", [name], [output]) for output, name in outputs.items() if output != name]
    infos = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
    return with_graph(model, [*producers, *copies], infos), outputs


def expose_absmax(model: onnx.ModelProto) -> tuple[bytes, dict[str, str]]:
    """Replace a graph's outputs by max|x| of every float value, which stores no activation; as `expose_tensors`."""
    floats = {name for name, kind in value_types(model).items() if kind.elem_type == TensorProto.FLOAT}
    nodes, outputs = [], {}
    for node in model.graph.node:
        nodes.append(node)
        for name in floats.intersection(node.output):
            # Right behind the node, so that its value can be freed before the next one is computed.
            nodes.append(helper.make_node("Abs", [name], [f"{name}/abs"]))
            nodes.append(helper.make_node("ReduceMax", [f"{name}/abs"], [f"{name}/absmax"], keepdims=0))
            outputs[f"{name}/absmax"] = name
    scalars = [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in outputs]
    return with_graph(model, nodes, scalars), outputs


def needed(nodes: list[onnx.NodeProto], values: frozenset[str]) -> list[onnx.NodeProto]:
    """Return the nodes that compute the values, in order; all nodes where one contains a subgraph."""
    if any(attribute.type == AttributeProto.GRAPH for node in nodes for attribute in node.attribute):
        return nodes  # a subgraph reads values that its node does not list
    wanted, found = set(values), []
    for node in reversed(nodes):  # ONNX Runtime would also run the nodes that no output needs
        if not wanted.isdisjoint(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def with_graph(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], outputs: Iterable[onnx.ValueInfoProto]
) -> bytes:
    """Serialize a model with other nodes and outputs; the model itself is left as it is.

    Weights are written one after the other behind the rest, since readers of protocol buffers merge the parts of a
    message. They are then in memory twice, not three times as with a copy.
    """
    rest = without_weights(model, nodes, outputs)
    rest.graph.value_info.extend(model.graph.value_info)
    rest.graph.sparse_initializer.extend(model.graph.sparse_initializer)
    stream = io.BytesIO()
    stream.write(rest.SerializeToString())
    for tensor in model.graph.initializer:
        content = tensor.SerializeToString()
        field = _INITIALIZER + _varint(len(content))
        stream.write(_GRAPH + _varint(len(field) + len(content)) + field)
        stream.write(content)
    return stream.getvalue()


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
