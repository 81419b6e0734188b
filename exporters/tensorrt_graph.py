"""Graphs in the form that some versions of TensorRT need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hrnet_deploy.exporters.graph_edit import copy_of, drop_unused_tensors, replace_nodes
from hrnet_deploy.exporters.qdq import weight_scales
from hrnet_deploy.qdq_plan import name_of, stored_tensors

_MAX_CODE = 127
_PREFIX = "conv1x1/"


def with_rounded_weights(model: onnx.ModelProto, rounded: Mapping[str, NDArray[np.int8]]) -> onnx.ModelProto:
    """Put weights on INT8 codes, so that TensorRT's own scales (largest weight / 127 per channel) reproduce them.

    `rounded` holds codes of `weight_scales` per channel by name. A channel whose largest code is no longer 127 would
    get another scale; it keeps its weights. The result is a new graph.
    """
    result = copy_of(model)
    tensors = stored_tensors(result)
    for name, codes in rounded.items():
        tensor = tensors[name]
        weights = numpy_helper.to_array(tensor)
        columns = (-1, *[1] * (weights.ndim - 1))
        scales = weight_scales(weights, per_channel=True).reshape(columns)
        whole = (np.abs(codes.reshape(len(codes), -1)).max(axis=1) == _MAX_CODE).reshape(columns)
        tensor.CopyFrom(numpy_helper.from_array(np.where(whole, codes * scales, weights), tensor.name))
    return result


def with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store INT8 weights in a new graph as float32 behind a QuantizeLinear, the form that TensorRT 8 documents."""
    result = copy_of(model)
    graph = result.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        tensor = stored.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if tensor is not None and tensor.data_type == TensorProto.INT8:
            name, scales = tensor.name, numpy_helper.to_array(stored[node.input[1]])
            codes = numpy_helper.to_array(tensor)
            columns = scales.reshape(-1, *[1] * (codes.ndim - 1)) if scales.ndim else scales
            tensor.CopyFrom(numpy_helper.from_array(codes.astype(scales.dtype) * columns, f"{name}/float"))
            node.input[0] = f"{name}/again"
            inputs, label = [tensor.name, *node.input[1:]], f"{node.name}/QuantizeLinear"
            nodes.append(helper.make_node("QuantizeLinear", inputs, [node.input[0]], label))
            nodes[-1].attribute.extend(node.attribute)
        nodes.append(node)
    replace_nodes(graph, nodes)
    return result


def gemm_to_conv(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace every Gemm with stored weights by Unsqueeze, a 1x1 Conv and Flatten, which compute the same sums.

    TensorRT-RTX has no FP32 GEMM for Turing (SM 7.5), so a classifier does not compile there; its convolutions do. In
    the new graph, Gemms with computed weights, a transposed input or a bias that is no vector stay.

    Source: TensorRT-RTX 1.7.1, "Cannot compile operation '/classifier/Gemm' for Turing (SM75): FP32 GEMM is not
    supported".
    """
    result = copy_of(model)
    graph = result.graph
    weights = {t.name: t for t in graph.initializer}
    nodes = [part for node in graph.node for part in _rewritten(node, graph, weights)]
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
    inputs = [f"{name}_in", *(t.name for t in tensors)]
    return [
        helper.make_node("Unsqueeze", [node.input[0], _PREFIX + "axes"], [f"{name}_in"], f"{name}_Unsqueeze"),
        helper.make_node("Conv", inputs, [f"{name}_out"], f"{name}_Conv", kernel_shape=[1, 1]),
        helper.make_node("Flatten", [f"{name}_out"], [node.output[0]], f"{name}_Flatten", axis=1),
    ]
