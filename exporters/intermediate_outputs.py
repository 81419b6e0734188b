"""Graphs whose outputs are intermediate values."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import AttributeProto, TensorProto, helper

from hrnet_deploy.exporters.serialized import with_graph

_SUFFIX = "/tap"


def expose_tensors(model: onnx.ModelProto, values: Iterable[str]) -> tuple[bytes, dict[str, str]]:
    """Make values of a graph its only outputs.

    Args:
        model: float32 graph, left as it is.
        values: names of float values; graph inputs are allowed.

    Returns:
        The serialized graph, and a map from its output names to the values.
    """
    inputs = {v.name for v in model.graph.input}
    # A graph input cannot be an output itself.
    outputs = {f"{name}{_SUFFIX}" if name in inputs else name: name for name in values}
    producers = needed(list(model.graph.node), frozenset(outputs.values()))
    copies = [helper.make_node("Identity", [name], [output]) for output, name in outputs.items() if output != name]
    infos = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
    return with_graph(model, [*producers, *copies], infos), outputs


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
