"""The precision of each convolution in a graph."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from hrnet_deploy.exporters.shape_inference import value_types
from hrnet_deploy.qdq_plan import name_of
from hrnet_deploy.spec import Precision


def conv_precisions(model: onnx.ModelProto) -> dict[str, Precision]:
    """Read the precision at each convolution's data input (Q/DQ, half or float), by node name in graph order."""
    types = value_types(model)
    producers = {name: node.op_type for node in model.graph.node for name in node.output}
    precisions: dict[str, Precision] = {}
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        data = node.input[0]
        if producers.get(data) == "DequantizeLinear":
            precision = Precision.INT8
        else:
            half = data in types and types[data].elem_type == TensorProto.FLOAT16
            precision = Precision.FP16 if half else Precision.FP32
        precisions[name_of(node)] = precision
    return precisions
