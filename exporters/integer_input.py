"""A first convolution that reads integer pixel values, which INT8 represents exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from hrnet_deploy.exporters.graph_edit import copy_of, replace_nodes
from hrnet_deploy.qdq_plan import INTEGER_INPUT, ActivationRange, name_of, stored_tensors

_PREFIX = "levels/"


def add_integer_input(
    model: onnx.ModelProto, mean: Sequence[float], std: Sequence[float]
) -> tuple[onnx.ModelProto, dict[str, ActivationRange]]:
    """Let the first convolution read integers from 0 to 255, minus a zero point, instead of normalized values.

    A normalized image has 256 values per channel, which differ from the 256 codes of one scale for all channels:
    quantization would shift each by a third of a step on average. Scaled back to integers, every value is a code. The
    zero padding is inserted before that, where it stands for the mean. `mean` and `std` are per channel on a 0..1
    scale.

    Returns:
        A new graph with the same outputs (up to float32 rounding), and the range of its value `INTEGER_INPUT`, which
        gives it a scale of 1; the same graph and no range where the input has other readers than one convolution.
    """
    stored = stored_tensors(model)
    entries = [v.name for v in model.graph.input if v.name not in stored]
    nodes = enumerate(model.graph.node)
    readers = [at for at, node in nodes if node.op_type != "Shape" and not set(entries).isdisjoint(node.input)]
    if len(entries) != 1 or len(readers) != 1 or (weights := _weights(model.graph.node[readers[0]], stored)) is None:
        return model, {}
    result = copy_of(model)
    graph, at = result.graph, readers[0]
    first = graph.node[at]
    scale, center = 255 * np.asarray(std, np.float64), 255 * np.asarray(mean, np.float64)
    zero, pads = float(np.rint(center.mean())), _pads(first)
    kernel = weights[0] / scale[:, None, None]
    # The rest of each channel's mean, a few steps, goes into the bias.
    rest = (kernel * (zero - center)[:, None, None]).sum((1, 2, 3))
    constants = {
        "pads": np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64),
        "level": scale.astype(np.float32).reshape(1, 3, 1, 1),
        "offset": (zero - center).astype(np.float32).reshape(1, 3, 1, 1),
        "weight": kernel.astype(np.float32),
        "bias": (weights[1] + rest).astype(np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(array, _PREFIX + key) for key, array in constants.items())
    steps = (
        ("Pad", entries[0], "pads", _PREFIX + "padded"),
        ("Mul", _PREFIX + "padded", "level", _PREFIX + "centred"),
        ("Sub", _PREFIX + "centred", "offset", INTEGER_INPUT),
    )
    name = name_of(first)
    head = [helper.make_node(kind, [a, _PREFIX + b], [output], f"{name}/{kind}") for kind, a, b, output in steps]
    first.input[:] = [INTEGER_INPUT, _PREFIX + "weight", _PREFIX + "bias"]
    next(a for a in first.attribute if a.name == "pads").ints[:] = [0, 0, 0, 0]
    replace_nodes(graph, [*graph.node[:at], *head, *graph.node[at:]])
    return result, {INTEGER_INPUT: ActivationRange(-zero, 255 - zero)}


def _weights(
    node: onnx.NodeProto, stored: Mapping[str, onnx.TensorProto]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return weights and bias of an image convolution with explicit padding, else None."""
    if node.op_type != "Conv" or any(name not in stored for name in node.input[1:]) or len(_pads(node)) != 4:
        return None
    weights, *bias = (numpy_helper.to_array(stored[name]).astype(np.float64) for name in node.input[1:])
    if weights.ndim != 4 or weights.shape[1] != 3:
        return None
    return weights, bias[0] if bias else np.zeros(len(weights))


def _pads(node: onnx.NodeProto) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == "pads"), [])
