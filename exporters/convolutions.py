"""Precision and multiply-accumulates of the convolutions of a graph."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx
from onnx import TensorProto

from hrnet_deploy.exporters.graph_edit import copy_of, value_types
from hrnet_deploy.exporters.import_onnx import reshape
from hrnet_deploy.qdq_plan import name_of, stored_tensors
from hrnet_deploy.spec import Precision, ShapeRange

_MAX_STEPS = 16
"""Nodes between a stored weight and its convolution."""


def conv_precisions(model: onnx.ModelProto) -> dict[str, Precision]:
    """Read the precision at each convolution's data input (Q/DQ, half or float), by node name in graph order."""
    makers = {name: node for node in model.graph.node for name in node.output}
    stored = {name: tensor.data_type for name, tensor in stored_tensors(model).items()}
    precisions = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            maker = makers.get(node.input[0])
            is_int8 = maker is not None and maker.op_type == "DequantizeLinear"
            # Data and weights of a convolution have one type; that of the weights is stored, so nothing is inferred.
            precision = Precision.FP16 if _is_half(node.input[1], makers, stored) else Precision.FP32
            precisions[name_of(node)] = Precision.INT8 if is_int8 else precision
    return precisions


def _is_half(name: str, makers: Mapping[str, onnx.NodeProto], stored: Mapping[str, int]) -> bool:
    """Follow a weight to the tensor or Cast that sets its type."""
    for _ in range(_MAX_STEPS):
        if name in stored:
            return stored[name] == TensorProto.FLOAT16
        maker = makers.get(name)
        if maker is None or not maker.input:
            return False
        if maker.op_type == "Cast":
            return any(attribute.name == "to" and attribute.i == TensorProto.FLOAT16 for attribute in maker.attribute)
        name = maker.input[1 if maker.op_type == "DequantizeLinear" else 0]  # the type of a scale
    return False


def count_macs(model: onnx.ModelProto, size_hw: tuple[int, int]) -> dict[str, int]:
    """Count the multiply-accumulates of convolutions for one image by node name; 0 where a size is unknown."""
    nhw = (1, *size_hw)
    copy = reshape(copy_of(model), ShapeRange(nhw, nhw, nhw))
    types = value_types(copy)
    weights = {name: tensor.dims for name, tensor in stored_tensors(copy).items()}
    counts = {}
    for node in copy.graph.node:
        if node.op_type == "Conv":
            kernel, kind = weights.get(node.input[1], (0, 0)), types.get(node.output[0])
            values = 0 if kind is None else math.prod(dim.dim_value for dim in kind.shape.dim)
            counts[name_of(node)] = values * math.prod(kernel[1:])
    return counts
