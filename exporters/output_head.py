"""Output heads: softmax, labels or label maps inside the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hrnet_deploy.errors import ExportError, UsageError
from hrnet_deploy.exporters.graph_edit import Dim, dims_of, replace_outputs

_PREFIX = "labels_out/"


def add_softmax(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add a softmax to logits (N, classes), in place; the only output is `probabilities`, float32 (N, classes)."""
    graph = model.graph
    _free_names(graph, "probabilities")
    logits = graph.output[0]
    batch, classes = dims_of(logits.type.tensor_type)
    _add(graph, "Softmax", [logits.name], ["probabilities"], axis=1)
    replace_outputs(graph, ("probabilities", TensorProto.FLOAT, [batch, classes]))
    return model


def add_topk(model: onnx.ModelProto, k: int) -> onnx.ModelProto:
    """Add a softmax and the selection of the k best classes to logits (N, classes), in place.

    The outputs are `labels` int64 and `scores` float32, both (N, k), best first. UsageError if there are fewer classes.
    """
    graph = model.graph
    _free_names(graph, "labels", "scores")
    batch, classes = dims_of(graph.output[0].type.tensor_type)
    if not isinstance(classes, int) or not 1 <= k <= classes:
        raise UsageError(f"top-k must be 1 to {classes}, got {k}. Ask for fewer.")
    add_softmax(model)
    count = _constant(graph, "k", np.array([k], np.int64))
    _add(graph, "TopK", ["probabilities", count], ["scores", "labels"], axis=1)
    replace_outputs(graph, ("labels", TensorProto.INT64, [batch, k]), ("scores", TensorProto.FLOAT, [batch, k]))
    return model


def add_two_classes(model: onnx.ModelProto, cut: float | None) -> onnx.ModelProto:
    """Add a sigmoid to a classifier with one output channel, and the labels where a cut is given, in place.

    The first output is one logit (N, 1), and above `cut` the second class is predicted. Without a cut the only output
    is `probabilities`, float32 (N, 2); with one the outputs are `labels` int64 (N, 2) and `scores` float32 (N, 2), the
    predicted class first.
    """
    graph = model.graph
    _free_names(graph, "probabilities", "labels", "scores")
    logits = graph.output[0]
    batch = dims_of(logits.type.tensor_type)[0]
    share, other, first, second = (_PREFIX + name for name in ("share", "other", "first", "second"))
    _add(graph, "Sigmoid", [logits.name], [share])
    _add(graph, "Sub", [_constant(graph, "one", np.array([[1]], np.float32)), share], [other])
    _add(graph, "Concat", [other, share], ["probabilities"], axis=1)
    if cut is None:
        replace_outputs(graph, ("probabilities", TensorProto.FLOAT, [batch, 2]))
        return model
    _add_above(graph, logits.name, cut, first, TensorProto.INT64)
    _add(graph, "Sub", [_constant(graph, "last", np.array([[1]], np.int64)), first], [second], name="Other")
    _add(graph, "Concat", [first, second], ["labels"], name="Labels", axis=1)
    _add(graph, "GatherElements", ["probabilities", "labels"], ["scores"], name="Scores", axis=1)
    replace_outputs(graph, ("labels", TensorProto.INT64, [batch, 2]), ("scores", TensorProto.FLOAT, [batch, 2]))
    return model


def add_argmax(model: onnx.ModelProto, *, align_corners: bool, cut: float | None = None) -> onnx.ModelProto:
    """Add upsampling to the input's size and an argmax to logits (N, classes, h, w), in place.

    The only output is `labels`, uint8 (N, H, W). With one channel, `cut` is the score above which the second class is
    predicted. ExportError if the output does not have four dimensions.
    """
    graph = model.graph
    _free_names(graph, "labels")
    entry, logits = graph.input[0], graph.output[0]
    if len(dims := dims_of(logits.type.tensor_type)) != 4:
        raise ExportError(f"labels-out needs logits (N, classes, h, w), got {dims}. Export without it.")
    batch, _, h, w = dims_of(entry.type.tensor_type)
    full, index, plane = _PREFIX + "full", _PREFIX + "index", _PREFIX + "plane"
    mode = "align_corners" if align_corners else "half_pixel"
    factor_h, factor_w = _whole_factor(h, dims[2]), _whole_factor(w, dims[3])
    if factor_h and factor_w:
        target = ["", _constant(graph, "scales", np.array([1, 1, factor_h, factor_w], np.float32))]
    else:
        batch_and_classes, height_and_width, size = (_PREFIX + name for name in ("nc", "hw", "size"))
        _add(graph, "Shape", [logits.name], [batch_and_classes], end=2)
        _add(graph, "Shape", [entry.name], [height_and_width], name="InputShape", start=2)
        _add(graph, "Concat", [batch_and_classes, height_and_width], [size], axis=0)
        target = ["", "", size]
    _add(graph, "Resize", [logits.name, *target], [full], mode="linear", coordinate_transformation_mode=mode)
    if cut is None:
        _add(graph, "ArgMax", [full], [index], axis=1, keepdims=0)
    else:
        _add_above(graph, full, cut, plane, TensorProto.INT32)
        _add(graph, "Squeeze", [plane, _constant(graph, "channel", np.array([1], np.int64))], [index])
    _add(graph, "Cast", [index], ["labels"], to=TensorProto.UINT8)
    replace_outputs(graph, ("labels", TensorProto.UINT8, [batch, h, w]))
    return model


def _add_above(graph: onnx.GraphProto, scores: str, cut: float, output: str, dtype: int) -> None:
    """Compute 1 where a score is above the cut, else 0."""
    above = _PREFIX + "above"
    _add(graph, "Greater", [scores, _constant(graph, "cut", np.array(cut, np.float32))], [above])
    _add(graph, "Cast", [above], [output], name="CastAbove", to=dtype)


def _add(
    graph: onnx.GraphProto, kind: str, inputs: list[str], outputs: list[str], *, name: str = "", **attributes: Any
) -> None:
    graph.node.append(helper.make_node(kind, inputs, outputs, _PREFIX + (name or kind), **attributes))


def _constant(graph: onnx.GraphProto, name: str, array: NDArray[np.generic]) -> str:
    """Store a tensor; return its name."""
    graph.initializer.append(numpy_helper.from_array(array, _PREFIX + name))
    return _PREFIX + name


def _whole_factor(size: Dim, low: Dim) -> int:
    """Return how many times a known size contains another; 0 where either is open or it does not divide."""
    known = isinstance(size, int) and isinstance(low, int)
    return int(size) // int(low) if known and int(size) % int(low) == 0 else 0  # type: ignore[arg-type]


def _free_names(graph: onnx.GraphProto, *names: str) -> None:
    """Rename values of a foreign graph that have the name of a new output."""
    computed = {output for node in graph.node for output in node.output}
    new = {name: f"{_PREFIX}inner_{name}" for name in names if name in computed}
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in (*graph.output, *graph.value_info):
        value.name = new.get(value.name, value.name)
