"""Rounded INT8 weights stored as float32, for runtimes that quantize by themselves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hrnet_deploy.exporters.graph_edit import copy_of, replace_nodes
from hrnet_deploy.exporters.qdq import weight_scales
from hrnet_deploy.qdq_plan import stored_tensors

_MAX_CODE = 127


def with_rounded_weights(model: onnx.ModelProto, rounded: Mapping[str, NDArray[np.int8]]) -> onnx.ModelProto:
    """Put weights on INT8 codes, so that TensorRT's own scales (largest weight / 127 per channel) reproduce them.

    A channel whose largest code is no longer 127 would get another scale; it keeps its weights.

    Args:
        model: float32 graph, left as it is.
        rounded: by name of stored weights, codes of `weight_scales` per channel.

    Returns:
        A new graph.
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
    """Store the INT8 weights of a Q/DQ graph as float32 behind a QuantizeLinear, the form TensorRT 8 documents.

    The result is a new graph with equal outputs.
    """
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
            quantize = helper.make_node(
                "QuantizeLinear", [tensor.name, *node.input[1:]], [node.input[0]], f"{node.name}/QuantizeLinear"
            )
            quantize.attribute.extend(node.attribute)
            nodes.append(quantize)
        nodes.append(node)
    replace_nodes(graph, nodes)
    return result
