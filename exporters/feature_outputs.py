"""Features as outputs of a graph: taken out before its precision changes, and put back afterwards.

In between, a feature is an inner value like any other. As an output it would keep the layers before it in float.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from hrnet_deploy.exporters.graph_edit import dims_of, value_types

_PREFIX = "features/"
_INTEGER = {"Conv", "Add", "Resize", "Concat", "MaxPool"}
"""Operators that ONNX Runtime's CPU provider computes in INT8 between two Q/DQ pairs."""


def detach_features(model: onnx.ModelProto, features: Sequence[str]) -> onnx.ModelProto:
    """Remove features from the outputs of a graph in place, if others remain, or if nodes read them."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    alone = {output.name for output in graph.output} <= set(features)
    kept = [output for output in graph.output if output.name not in features or (alone and output.name not in read)]
    kept = kept or [graph.output[-1]]  # such as a feature that only others are computed from
    copies = [onnx.ValueInfoProto.FromString(output.SerializeToString()) for output in kept]
    del graph.output[:]
    graph.output.extend(copies)
    return model


def attach_features(model: onnx.ModelProto, shapes: Sequence[onnx.ValueInfoProto]) -> onnx.ModelProto:
    """Add features behind the other outputs of a graph in place; they are float32 in every precision.

    A half value is cast. A value that is only computed in INT8 is dequantized, so that its layers stay in INT8.
    """
    graph = model.graph
    there = {output.name: output for output in graph.output}
    names = [info.name for info in shapes]
    scores = [output for output in graph.output if output.name not in names]
    missing = [info for info in shapes if info.name not in there]
    types = value_types(model) if missing else {}
    for info in missing:
        _expose(graph, info.name, half=types[info.name].elem_type == TensorProto.FLOAT16)
    outputs = [onnx.ValueInfoProto.FromString(one.SerializeToString()) for one in (*scores, *shapes)]
    del graph.output[:]
    graph.output.extend(outputs)
    return model


def feature_infos(model: onnx.ModelProto, features: Sequence[str]) -> tuple[onnx.ValueInfoProto, ...]:
    """Return name and shape of the outputs that are features, in this order."""
    outputs = {output.name: output.type.tensor_type for output in model.graph.output}
    return tuple(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims_of(outputs[name])) for name in features)


def _expose(graph: onnx.GraphProto, name: str, *, half: bool) -> None:
    """Compute the output of a feature from the value of that name, which gets another one where they differ."""
    pair = None if half else _pair_of(graph, name)
    if pair is None and not half:
        return  # the value itself
    inner = _PREFIX + name
    for node in graph.node:
        node.input[:] = [inner if value == name else value for value in node.input]
        node.output[:] = [inner if value == name else value for value in node.output]
    if pair is None:
        graph.node.append(helper.make_node("Cast", [inner], [name], f"{inner}/Cast", to=TensorProto.FLOAT))
        return
    copy = onnx.NodeProto.FromString(pair.SerializeToString())
    copy.output[:], copy.name = [name], f"{inner}/DequantizeLinear"
    graph.node.append(copy)


def _pair_of(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    """Return the node that dequantizes a value which INT8 layers compute; None for a value computed in float."""
    producers = {output: node for node in graph.node for output in node.output}
    readers = [node for node in graph.node if name in node.input]
    codes = next((node.output[0] for node in readers if node.op_type == "QuantizeLinear"), None)
    maker = producers.get(name)
    while maker is not None and maker.op_type == "Relu":
        maker = producers.get(maker.input[0])
    integer = maker is not None and maker.op_type in _INTEGER
    if codes is None or maker is None or not integer:
        return None
    sources = {producers[value].op_type for value in maker.input if value in producers}
    if "DequantizeLinear" not in sources or len(readers) > 1:
        return None
    return next((n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] == codes), None)
