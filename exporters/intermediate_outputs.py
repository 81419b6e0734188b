"""A graph that also gives away values from its inside."""

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
        values: names of float values, graph inputs among them.

    Returns:
        The graph, serialised, and a map from its output names to the values.
    """
    graph = model.graph
    inputs = {v.name for v in graph.input}
    # A graph input cannot be an output itself.
    taps = {f"{name}{_SUFFIX}" if name in inputs else name: name for name in values}
    kept = needed(list(graph.node), frozenset(taps.values()))
    copies = [helper.make_node("Identity", [name], [tap]) for tap, name in taps.items() if tap != name]
    outputs = [helper.make_tensor_value_info(tap, TensorProto.FLOAT, None) for tap in taps]
    return with_graph(model, [*kept, *copies], outputs), taps


def needed(nodes: list[onnx.NodeProto], values: frozenset[str]) -> list[onnx.NodeProto]:
    """Nodes that values are made by; ONNX Runtime would run the others as well.

    Args:
        nodes: of a graph, in order.
        values: names of values.

    Returns:
        Those of the nodes, in order; all of them where a node holds a graph of its own.
    """
    if any(given.type == AttributeProto.GRAPH for node in nodes for given in node.attribute):
        return nodes  # a graph within reads values that its node does not list
    wanted, needed = set(values), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            wanted.update(node.input)
            needed.append(node)
    return needed[::-1]
