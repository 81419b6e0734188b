"""A graph that also gives away values from its inside."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import TensorProto, helper

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
    nodes, outputs = len(graph.node), list(graph.output)
    inputs = {v.name for v in graph.input}
    # A graph input cannot be an output itself.
    taps = {f"{name}{_SUFFIX}" if name in inputs else name: name for name in values}
    graph.node.extend(helper.make_node("Identity", [name], [tap]) for tap, name in taps.items() if tap != name)
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(tap, TensorProto.FLOAT, None) for tap in taps)
    content = model.SerializeToString()
    del graph.node[nodes:]
    del graph.output[:]
    graph.output.extend(outputs)
    return content, taps
