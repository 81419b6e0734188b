"""Output heads: softmax, labels or label maps inside the graph."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hrnet_deploy.errors import ExportError, UsageError

_PREFIX = "labels_out/"
_Dim = int | str | None
"""A number, a name, or open."""


def add_softmax(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add a softmax to a classifier.

    Args:
        model: graph whose first output is logits (N, classes); changed in place.

    Returns:
        The model; its only output is `probabilities`, float32 (N, classes).
    """
    _free_names(model.graph, "probabilities")
    logits = model.graph.output[0]
    batch, classes = _dims(logits)
    model.graph.node.append(helper.make_node("Softmax", [logits.name], ["probabilities"], _PREFIX + "Softmax", axis=1))
    _replace_outputs(model.graph, [("probabilities", TensorProto.FLOAT, [batch, classes])])
    return model


def add_topk(model: onnx.ModelProto, k: int) -> onnx.ModelProto:
    """Add a softmax and the selection of the k best classes to a classifier.

    Args:
        model: graph whose first output is logits (N, classes); changed in place.
        k: number of classes, at least 1.

    Returns:
        The model; its outputs are `labels` int64 (N, k) and `scores` float32 (N, k), best first.

    Raises:
        UsageError: k is not 1 to the number of classes.
    """
    _free_names(model.graph, "labels", "scores")
    batch, classes = _dims(model.graph.output[0])
    if not isinstance(classes, int) or not 1 <= k <= classes:
        raise UsageError(f"top-k must be 1 to {classes}, got {k}. Ask for fewer.")
    add_softmax(model)
    model.graph.initializer.append(numpy_helper.from_array(np.array([k], np.int64), _PREFIX + "k"))
    model.graph.node.append(
        helper.make_node("TopK", ["probabilities", _PREFIX + "k"], ["scores", "labels"], _PREFIX + "TopK", axis=1)
    )
    _replace_outputs(
        model.graph, [("labels", TensorProto.INT64, [batch, k]), ("scores", TensorProto.FLOAT, [batch, k])]
    )
    return model


def add_two_classes(model: onnx.ModelProto, cut: float | None) -> onnx.ModelProto:
    """Add a sigmoid to a classifier with one output channel, and the labels where a cut is given.

    Args:
        model: graph whose first output is one logit (N, 1); changed in place.
        cut: the logit above which the second class is predicted; None for probabilities only.

    Returns:
        The model. Without a cut its only output is `probabilities`, float32 (N, 2); with one its outputs are `labels`
        int64 (N, 2) and `scores` float32 (N, 2), the predicted class first.
    """
    graph = model.graph
    _free_names(graph, "probabilities", "labels", "scores")
    logits = graph.output[0]
    batch = _dims(logits)[0]
    one, other, first, second = (_PREFIX + name for name in ("one", "other", "first", "second"))
    graph.initializer.append(numpy_helper.from_array(np.array([[1]], np.float32), one))
    graph.node.extend(
        [
            helper.make_node("Sigmoid", [logits.name], [_PREFIX + "share"], _PREFIX + "Sigmoid"),
            helper.make_node("Sub", [one, _PREFIX + "share"], [other], _PREFIX + "Sub"),
            helper.make_node("Concat", [other, _PREFIX + "share"], ["probabilities"], _PREFIX + "Concat", axis=1),
        ]
    )
    if cut is None:
        _replace_outputs(graph, [("probabilities", TensorProto.FLOAT, [batch, 2])])
        return model
    graph.initializer.append(numpy_helper.from_array(np.array([[1]], np.int64), _PREFIX + "last"))
    _above(graph, logits.name, cut, first, TensorProto.INT64)
    graph.node.extend(
        [
            helper.make_node("Sub", [_PREFIX + "last", first], [second], _PREFIX + "Other"),
            helper.make_node("Concat", [first, second], ["labels"], _PREFIX + "Labels", axis=1),
            helper.make_node("GatherElements", ["probabilities", "labels"], ["scores"], _PREFIX + "Scores", axis=1),
        ]
    )
    _replace_outputs(graph, [("labels", TensorProto.INT64, [batch, 2]), ("scores", TensorProto.FLOAT, [batch, 2])])
    return model


def _above(graph: onnx.GraphProto, scores: str, cut: float, output: str, dtype: int) -> None:
    """Write 1 where a score is above the cut, else 0, to a value of a given name."""
    graph.initializer.append(numpy_helper.from_array(np.array(cut, np.float32), _PREFIX + "cut"))
    graph.node.extend(
        [
            helper.make_node("Greater", [scores, _PREFIX + "cut"], [_PREFIX + "above"], _PREFIX + "Greater"),
            helper.make_node("Cast", [_PREFIX + "above"], [output], _PREFIX + "CastAbove", to=dtype),
        ]
    )


def add_argmax(model: onnx.ModelProto, *, align_corners: bool, cut: float | None = None) -> onnx.ModelProto:
    """Add upsampling to the input's size and an argmax to a segmentation graph.

    Args:
        model: graph with input (N, 3, H, W) whose first output is logits (N, classes, h, w); changed in place.
        align_corners: the mode of the training.
        cut: for a model with one channel, the score above which the second class is predicted.

    Returns:
        The model; its only output is `labels`, uint8 (N, H, W).

    Raises:
        ExportError: the output does not have four dimensions.
    """
    graph = model.graph
    _free_names(graph, "labels")
    entry, logits = graph.input[0], graph.output[0]
    if len(_dims(logits)) != 4:
        raise ExportError(f"labels-out needs logits (N, classes, h, w), got {_dims(logits)}. Export without it.")
    batch, _, h, w = _dims(entry)
    full, index = _PREFIX + "full", _PREFIX + "index"
    mode = "align_corners" if align_corners else "half_pixel"
    inputs = [logits.name, *_resize_target(graph, entry, logits)]
    resize = helper.make_node(
        "Resize", inputs, [full], _PREFIX + "Resize", mode="linear", coordinate_transformation_mode=mode
    )
    graph.node.append(resize)
    if cut is None:
        graph.node.append(helper.make_node("ArgMax", [full], [index], _PREFIX + "ArgMax", axis=1, keepdims=0))
    else:
        _above(graph, full, cut, _PREFIX + "plane", TensorProto.INT32)
        graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), _PREFIX + "channel"))
        graph.node.append(
            helper.make_node("Squeeze", [_PREFIX + "plane", _PREFIX + "channel"], [index], _PREFIX + "Squeeze")
        )
    graph.node.append(helper.make_node("Cast", [index], ["labels"], _PREFIX + "Cast", to=TensorProto.UINT8))
    _replace_outputs(graph, [("labels", TensorProto.UINT8, [batch, h, w])])
    return model


def _resize_target(graph: onnx.GraphProto, entry: onnx.ValueInfoProto, logits: onnx.ValueInfoProto) -> list[str]:
    """Return Resize's further inputs: constant whole factors where the sizes are known, else a computed size."""
    (_, _, h, w), (_, _, low_h, low_w) = _dims(entry), _dims(logits)
    factor_h, factor_w = _whole_factor(h, low_h), _whole_factor(w, low_w)
    if not (factor_h and factor_w):
        return ["", "", _target_size(graph, entry.name, logits.name)]
    factors = np.array([1, 1, factor_h, factor_w], np.float32)
    graph.initializer.append(numpy_helper.from_array(factors, _PREFIX + "scales"))
    return ["", _PREFIX + "scales"]


def _target_size(graph: onnx.GraphProto, entry: str, logits: str) -> str:
    """Compute (N, classes, H, W) from the shapes of logits and input; return the value's name."""
    size = _PREFIX + "size"
    graph.node.extend(
        [
            helper.make_node("Shape", [logits], [_PREFIX + "nc"], _PREFIX + "Shape", end=2),
            helper.make_node("Shape", [entry], [_PREFIX + "hw"], _PREFIX + "InputShape", start=2),
            helper.make_node("Concat", [_PREFIX + "nc", _PREFIX + "hw"], [size], _PREFIX + "Concat", axis=0),
        ]
    )
    return size


def _dims(value: onnx.ValueInfoProto) -> list[_Dim]:
    return [d.dim_param or d.dim_value or None for d in value.type.tensor_type.shape.dim]


def _whole_factor(size: _Dim, low: _Dim) -> int:
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


def _replace_outputs(graph: onnx.GraphProto, outputs: list[tuple[str, int, list[_Dim]]]) -> None:
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(name, dtype, dims) for name, dtype, dims in outputs)
