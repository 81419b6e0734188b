"""A first convolution that reads whole grey levels, so that its input loses nothing in INT8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from hrnet_deploy.qdq_plan import INTEGER_INPUT, ActivationRange, stored_tensors

_PREFIX = "levels/"


def add_integer_input(
    model: onnx.ModelProto, mean: Sequence[float], std: Sequence[float]
) -> tuple[onnx.ModelProto, dict[str, ActivationRange]]:
    """Let the first convolution read grey levels instead of what they were normalised to.

    A normalised picture has 256 values a channel, which are not the 256 codes that one scale gives all three: rounded
    to these, it is off by a third of a level. Counted in levels again every value is a code. The zeros around the
    picture are put there before that, where they stand for the mean.

    Args:
        model: simplified float32 graph, left as it is.
        mean: per channel on a 0..1 scale, in the order the network expects.
        std: per channel on a 0..1 scale, likewise.

    Returns:
        A new graph with the same answers (up to float32 rounding) and the range of its value `INTEGER_INPUT`, which
        makes its scale 1; the same graph and no range where something other than one convolution reads the input.
    """
    stored = stored_tensors(model)
    entries = [v.name for v in model.graph.input if v.name not in stored]
    readers = [
        at
        for at, node in enumerate(model.graph.node)
        if node.op_type != "Shape" and not set(entries).isdisjoint(node.input)
    ]
    if len(entries) != 1 or len(readers) != 1 or (weights := _weights(model.graph.node[readers[0]], stored)) is None:
        return model, {}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, at = result.graph, readers[0]
    first = graph.node[at]
    before, after = _pads(first)[:2], _pads(first)[2:]
    level, centre = 255 * np.asarray(std, np.float64), 255 * np.asarray(mean, np.float64)
    zero = float(np.rint(centre.mean()))  # what is left of the mean, some levels a channel, goes into the bias
    kernel = weights[0] / level[:, None, None]
    constants: dict[str, NDArray[np.generic]] = {
        "pads": np.array([0, 0, *before, 0, 0, *after], np.int64),
        "level": level.astype(np.float32).reshape(1, 3, 1, 1),
        "offset": (zero - centre).astype(np.float32).reshape(1, 3, 1, 1),
        "weight": kernel.astype(np.float32),
        "bias": (weights[1] + (kernel * (zero - centre)[:, None, None]).sum((1, 2, 3))).astype(np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(array, _PREFIX + key) for key, array in constants.items())
    steps = (
        ("Pad", entries[0], "pads", _PREFIX + "padded"),
        ("Mul", _PREFIX + "padded", "level", _PREFIX + "centred"),
        ("Sub", _PREFIX + "centred", "offset", INTEGER_INPUT),
    )
    name = first.name or first.output[0]
    head = [helper.make_node(kind, [a, _PREFIX + b], [made], f"{name}/{kind}") for kind, a, b, made in steps]
    first.input[:] = [INTEGER_INPUT, _PREFIX + "weight", _PREFIX + "bias"]
    next(a for a in first.attribute if a.name == "pads").ints[:] = [0, 0, 0, 0]
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes[:at], *head, *nodes[at:]])
    return result, {INTEGER_INPUT: ActivationRange(-zero, 255 - zero)}


def _weights(
    node: onnx.NodeProto, stored: Mapping[str, onnx.TensorProto]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Weights (outputs, 3, height, width) and bias of a convolution of pictures that pads by given zeros, else None."""
    if node.op_type != "Conv" or any(name not in stored for name in node.input[1:]) or len(_pads(node)) != 4:
        return None
    weights, *bias = (numpy_helper.to_array(stored[name]).astype(np.float64) for name in node.input[1:])
    if weights.ndim != 4 or weights.shape[1] != 3:
        return None
    return weights, bias[0] if bias else np.zeros(len(weights))


def _pads(node: onnx.NodeProto) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == "pads"), [])
