"""A uint8 image batch as graph input, normalized inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hrnet_deploy.errors import ExportError
from hrnet_deploy.exporters.graph_edit import replace_nodes

_PREFIX = "pixels_in/"
NORMALIZED = _PREFIX + "normalised"
"""The value that replaces the float input."""
_UNIFORM = {"Cast", "Pad", "QuantizeLinear", "DequantizeLinear"}
_BY_CHANNEL = {"Mul", "Sub"}
"""The nodes of an INT8 graph before its first convolution: uniform over the channels, or with a number for each."""


def add_uint8_input(
    model: onnx.ModelProto, mean: Sequence[float], std: Sequence[float], *, swap: bool
) -> onnx.ModelProto:
    """Put Cast, Transpose, Mul and Add before a graph, in place, so that it takes bytes (N, H, W, 3) as from a camera.

    TensorRT fuses the four into one kernel, and a quarter of the bytes go to the device. `mean` and `std` are per
    channel on a 0..1 scale, in the network's channel order. With `swap` the channels come in reverse order: the first
    convolution's weights are reversed, which costs nothing.

    Raises:
        ExportError: the input does not have three channels, or its reader is no convolution.
    """
    graph = model.graph
    entry = graph.input[0]
    n, channels, h, w = (d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim)
    if channels != 3 or entry.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise ExportError(f"pixels-in needs a float32 input with 3 channels, got {channels}. Export without it.")
    name = entry.name
    for node in graph.node:
        node.input[:] = [NORMALIZED if i == name else i for i in node.input]
    scale = 1 / (255 * np.asarray(std, np.float64))
    shift = -np.asarray(mean, np.float64) / np.asarray(std, np.float64)
    if swap:
        _reverse_first_convolution(graph, NORMALIZED)
        scale, shift = scale[::-1], shift[::-1]
    for key, values in (("scale", scale), ("shift", shift)):
        array = np.ascontiguousarray(values, np.float32).reshape(1, 3, 1, 1)
        graph.initializer.append(numpy_helper.from_array(array, _PREFIX + key))
    decoded, nchw, scaled = (_PREFIX + key for key in ("float", "nchw", "scaled"))
    head = [
        # Cast comes first: in TensorRT only a Cast may read a uint8 input.
        helper.make_node("Cast", [name], [decoded], _PREFIX + "Cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", [decoded], [nchw], _PREFIX + "Transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", [nchw, _PREFIX + "scale"], [scaled], _PREFIX + "Mul"),
        helper.make_node("Add", [scaled, _PREFIX + "shift"], [NORMALIZED], _PREFIX + "Add"),
    ]
    replace_nodes(graph, [*head, *graph.node])
    entry.CopyFrom(helper.make_tensor_value_info(name, TensorProto.UINT8, [n, h, w, 3]))
    return model


def _reverse_first_convolution(graph: onnx.GraphProto, value: str) -> None:
    """Reverse the input channels of the convolution that reads `value`, and of the nodes between them."""
    stored = {t.name: t for t in graph.initializer}
    codes = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    frontier, reversed_ = {value}, set()
    for node in graph.node:
        if node.op_type == "Shape" or frontier.isdisjoint(node.input):
            continue
        if node.op_type in _UNIFORM | _BY_CHANNEL and node.input[0] in frontier:
            frontier.add(node.output[0])
        if node.op_type in _UNIFORM:
            continue
        name = codes.get(node.input[1], node.input[1]) if node.op_type in {"Conv", *_BY_CHANNEL} else None
        if name not in stored:
            raise ExportError(
                f"swapping channels needs a convolution as first node, got {node.op_type}. Use --pixels-in rgb."
            )
        if name not in reversed_:
            array = numpy_helper.to_array(stored[name])
            stored[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array[:, ::-1]), name))
            reversed_.add(name)
