"""Precision and multiply-accumulates of the convolutions of a graph."""

from __future__ import annotations

import math

import onnx
from onnx import TensorProto

from hrnet_deploy.exporters.graph_edit import copy_of, value_types
from hrnet_deploy.exporters.import_onnx import reshape
from hrnet_deploy.qdq_plan import name_of, stored_tensors
from hrnet_deploy.spec import Precision, ShapeRange


def conv_precisions(model: onnx.ModelProto) -> dict[str, Precision]:
    """Read the precision at each convolution's data input (Q/DQ, half or float), by node name in graph order."""
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    half = {name for name, kind in value_types(model).items() if kind.elem_type == TensorProto.FLOAT16}
    precisions = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            precision = Precision.FP16 if node.input[0] in half else Precision.FP32
            precisions[name_of(node)] = Precision.INT8 if node.input[0] in dequantized else precision
    return precisions


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
