"""Fully connected layers as 1x1 convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hrnet_deploy.exporters.graph_edit import copy_of, drop_unused_tensors, replace_nodes
from hrnet_deploy.qdq_plan import name_of

_PREFIX = "conv1x1/"


def gemm_to_conv(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every Gemm with stored weights by Unsqueeze, a 1x1 Conv and Flatten, which compute the same sums.

    TensorRT-RTX has no FP32 GEMM for Turing (SM 7.5), so a classifier does not compile there; its convolutions do.

    Args:
        model: a float graph, left as it is.

    Returns:
        A new graph; Gemms with computed weights, a transposed input or a bias that is no vector stay.

    Source: TensorRT-RTX 1.7.1, "Cannot compile operation '/classifier/Gemm' for Turing (SM75): FP32 GEMM is not
    supported".
    """
    result = copy_of(model)
    graph = result.graph
    weights = {t.name: t for t in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.extend(_rewritten(node, graph, weights))
    if any(n.name.startswith(_PREFIX) for n in nodes):
        axes = np.array([2, 3], np.int64)
        graph.initializer.append(numpy_helper.from_array(axes, _PREFIX + "axes"))
    replace_nodes(graph, nodes)
    drop_unused_tensors(graph)
    return result


def _rewritten(
    node: onnx.NodeProto, graph: onnx.GraphProto, weights: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    if node.op_type != "Gemm" or not all(name in weights for name in node.input[1:] if name):
        return [node]
    options: dict[str, Any] = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    matrix = numpy_helper.to_array(weights[node.input[1]])
    bias = numpy_helper.to_array(weights[node.input[2]]) if len(node.input) > 2 and node.input[2] else None
    matrix = matrix if options.get("transB") else matrix.T
    if options.get("transA") or (bias is not None and bias.reshape(-1).shape != matrix.shape[:1]):
        return [node]
    name = _PREFIX + name_of(node)
    kernel = np.ascontiguousarray(matrix * matrix.dtype.type(options.get("alpha", 1.0)))[:, :, None, None]
    tensors = [numpy_helper.from_array(kernel, f"{name}_weight")]
    if bias is not None:
        scaled = bias.reshape(-1) * bias.dtype.type(options.get("beta", 1.0))
        tensors.append(numpy_helper.from_array(scaled, f"{name}_bias"))
    graph.initializer.extend(tensors)
    return [
        helper.make_node("Unsqueeze", [node.input[0], _PREFIX + "axes"], [f"{name}_in"], f"{name}_Unsqueeze"),
        helper.make_node(
            "Conv", [f"{name}_in", *(t.name for t in tensors)], [f"{name}_out"], f"{name}_Conv", kernel_shape=[1, 1]
        ),
        helper.make_node("Flatten", [f"{name}_out"], [node.output[0]], f"{name}_Flatten", axis=1),
    ]
