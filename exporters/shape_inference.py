"""Types and shapes of a graph's values, inferred without its weights."""

from __future__ import annotations

import math

import onnx
from onnx import helper

from hrnet_deploy.exporters.graph_edit import without_weights

_SMALL = 1024
"""Elements up to which an initializer may be a shape or a Resize target, whose content inference needs."""


def value_types(model: onnx.ModelProto, *, strict: bool = False) -> dict[str, onnx.TypeProto.Tensor]:
    """Infer element type and shape by name, of graph inputs and computed values.

    Weights are declared, not copied, so a wide model costs no memory. With `strict` a contradiction raises
    `onnx.shape_inference.InferenceError`.
    """
    skeleton = without_weights(model)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            skeleton.graph.initializer.append(tensor)
        else:
            skeleton.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    # Data propagation follows the Shape-Slice-Concat chains that compute sizes.
    inferred = onnx.shape_inference.infer_shapes(skeleton, check_type=strict, strict_mode=strict, data_prop=True).graph
    weights = {tensor.name for tensor in model.graph.initializer}
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {v.name: v.type.tensor_type for v in values if v.name not in weights}
