"""Multiply-accumulates of each convolution of a graph."""

from __future__ import annotations

import math

import onnx

from hrnet_deploy.exporters.graph_edit import copy_of
from hrnet_deploy.exporters.import_onnx import reshape
from hrnet_deploy.exporters.shape_inference import value_types
from hrnet_deploy.qdq_plan import name_of, stored_tensors
from hrnet_deploy.spec import ShapeRange


def count_macs(model: onnx.ModelProto, size_hw: tuple[int, int]) -> dict[str, int]:
    """Count the multiply-accumulates of convolutions for one image.

    Args:
        model: a float32 graph with a float (N, 3, H, W) input.
        size_hw: image (height, width) in pixels.

    Returns:
        By node name, in graph order; 0 where the size of an output cannot be inferred.
    """
    nhw = (1, *size_hw)
    copy = reshape(copy_of(model), ShapeRange(nhw, nhw, nhw))
    types = value_types(copy)
    weights = {name: tensor.dims for name, tensor in stored_tensors(copy).items()}
    counts = {}
    for node in copy.graph.node:
        if node.op_type == "Conv":
            kernel = weights.get(node.input[1], (0, 0))
            counts[name_of(node)] = _values(types.get(node.output[0])) * math.prod(kernel[1:])
    return counts


def _values(kind: onnx.TypeProto.Tensor | None) -> int:
    return 0 if kind is None else math.prod(dim.dim_value for dim in kind.shape.dim)
