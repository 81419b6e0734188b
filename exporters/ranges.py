"""How large the values of a graph become, and which nodes half precision could not hold."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper

from hrnet_deploy.exporters.fp16 import FP16_MAX

_HEADROOM = 2.0
"""The images at hand are not all images: what comes within this factor of the limit counts as beyond it."""
_FP16_MIN_NORMAL = 2.0**-14
"""A tensor whose largest value is below this has lost mantissa bits. Source: IEEE 754 binary16."""


def with_absmax(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Replace a graph's outputs by max|x| of every float value; nothing the size of an activation is kept.

    Args:
        model: float32 graph, left as it is.

    Returns:
        The graph, whose outputs are float scalars, and a map from output name to value name.
    """
    tapped = onnx.shape_inference.infer_shapes(model)
    graph = tapped.graph
    typed = (*graph.value_info, *graph.output)
    floats = {v.name for v in typed if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    values = [name for node in graph.node for name in node.output if name in floats]
    taps = {f"{name}/absmax": name for name in values}
    for tap, name in taps.items():
        graph.node.append(helper.make_node("Abs", [name], [f"{name}/abs"]))
        graph.node.append(helper.make_node("ReduceMax", [f"{name}/abs"], [tap], keepdims=0))
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(tap, TensorProto.FLOAT, []) for tap in taps)
    return tapped, taps


def beyond_fp16(model: onnx.ModelProto, absmax: Mapping[str, float]) -> frozenset[str]:
    """Nodes that read or make a value half precision cannot hold.

    Args:
        model: the float32 graph.
        absmax: largest |x| by value name, over representative images.

    Returns:
        Names of nodes to keep in float32.
    """
    limit = FP16_MAX / _HEADROOM
    bad = {name for name, value in absmax.items() if not value <= limit or 0 < value < _FP16_MIN_NORMAL}
    return frozenset(n.name or n.output[0] for n in model.graph.node if bad & {*n.input, *n.output})
