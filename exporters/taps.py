"""A graph that also gives away values from its inside."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import AttributeProto, TensorProto, helper

_SUFFIX = "/tap"


def with_taps(model: onnx.ModelProto, values: Iterable[str]) -> tuple[bytes, dict[str, str]]:
    """Make values of a graph its only outputs.

    Args:
        model: float32 graph, left as it is.
        values: names of float values, graph inputs among them.

    Returns:
        The graph, serialised, and a map from its output names to the values.
    """
    graph = model.graph
    nodes, outputs = list(graph.node), list(graph.output)
    inputs = {v.name for v in graph.input}
    # A graph input cannot be an output itself.
    taps = {f"{name}{_SUFFIX}" if name in inputs else name: name for name in values}
    del graph.node[:], graph.output[:]
    graph.node.extend(_needed(nodes, frozenset(taps.values())))
    graph.node.extend(helper.make_node("Identity", [name], [tap]) for tap, name in taps.items() if tap != name)
    graph.output.extend(helper.make_tensor_value_info(tap, TensorProto.FLOAT, None) for tap in taps)
    content = model.SerializeToString()
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    graph.output.extend(outputs)
    return content, taps


def _needed(nodes: list[onnx.NodeProto], values: frozenset[str]) -> list[onnx.NodeProto]:
    """What the values are made by; ONNX Runtime would run the rest all the same."""
    if any(given.type == AttributeProto.GRAPH for node in nodes for given in node.attribute):
        return nodes  # a graph within reads values that its node does not list
    wanted, needed = set(values), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            wanted.update(node.input)
            needed.append(node)
    return needed[::-1]
