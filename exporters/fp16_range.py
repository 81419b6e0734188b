"""Magnitudes of a graph's values, and the nodes that exceed the range of half precision."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper

from hrnet_deploy.exporters.fp16 import FP16_MAX
from hrnet_deploy.exporters.serialized import with_graph
from hrnet_deploy.exporters.shape_inference import value_types
from hrnet_deploy.qdq_plan import name_of

_HEADROOM = 2.0
"""Values within this factor of the limit count as beyond it, since other images may give larger ones."""
_FP16_MIN_NORMAL = 2.0**-14
"""A tensor whose largest value is below this has lost mantissa bits. Source: IEEE 754 binary16."""


def expose_absmax(model: onnx.ModelProto) -> tuple[bytes, dict[str, str]]:
    """Replace a graph's outputs by max|x| of every float value, so that no activation is stored.

    Returns:
        The serialized graph with float scalar outputs, and a map from output name to value name.
    """
    floats = {name for name, kind in value_types(model).items() if kind.elem_type == TensorProto.FLOAT}
    nodes, outputs = [], {}
    for node in model.graph.node:
        nodes.append(node)
        for name in floats.intersection(node.output):
            # Right behind the node, so that its value can be freed before the next one is computed.
            nodes.append(helper.make_node("Abs", [name], [f"{name}/abs"]))
            nodes.append(helper.make_node("ReduceMax", [f"{name}/abs"], [f"{name}/absmax"], keepdims=0))
            outputs[f"{name}/absmax"] = name
    scalars = [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in outputs]
    return with_graph(model, nodes, scalars), outputs


def fp16_overflows(model: onnx.ModelProto, absmax: Mapping[str, float]) -> frozenset[str]:
    """Find the nodes that read or compute a value outside the range of half precision.

    Args:
        model: the float32 graph.
        absmax: largest |x| by value name, over representative images.
    """
    limit = FP16_MAX / _HEADROOM
    bad = {name for name, value in absmax.items() if not value <= limit or 0 < value < _FP16_MIN_NORMAL}
    return frozenset(name_of(n) for n in model.graph.node if bad & {*n.input, *n.output})
