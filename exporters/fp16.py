"""Conversion of a float32 graph to FP16."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hrnet_deploy.errors import ExportError, one_line
from hrnet_deploy.exporters.graph_edit import value_types, without_weights
from hrnet_deploy.qdq_plan import name_of

FP16_MAX = 65504.0
"""Largest finite half. Source: IEEE 754 binary16."""
_MIN_NORMAL = 2.0**-14
"""A tensor whose largest value is below this has lost mantissa bits. Source: IEEE 754 binary16."""
_HEADROOM = 2.0
"""Values within this factor of the limit count as beyond it, since other images may give larger ones."""
_FP32_INPUTS = {"Resize": (1, 2)}
"""Inputs that ONNX defines as float whatever the data type: Resize's roi and scales."""
_CONSTANT_KINDS = {"value", "value_float", "value_floats"}


@dataclass(frozen=True)
class Fp16Graph:
    """A converted graph, the names of nodes kept in float32, and the number of nonzero weights that became zero."""

    model: onnx.ModelProto
    kept: tuple[str, ...]
    underflowed: int


def to_fp16(model: onnx.ModelProto, keep: Collection[str] = ()) -> Fp16Graph:
    """Convert a float32 graph, which is left as it is, to half, with float32 inputs and outputs.

    1. Every float initializer and Constant becomes half, except Resize's roi and scales.
    2. A node with a weight beyond the half range stays in float32, as does a node named in `keep`.
    3. Nodes that compute sizes from shapes stay in float32: half cannot count beyond 2048.
    4. A value that crosses between the two types gets one Cast.

    Raises:
        ExportError: the graph contains subgraphs (If, Loop, Scan), or the result is not valid.
    """
    within = next((n.op_type for n in model.graph.node if any(a.type == a.GRAPH for a in n.attribute)), None)
    if within is not None:
        raise ExportError(f"FP16 needs a graph without graphs inside, got a node of kind {within}. Use fp32.")
    result = without_weights(model)
    graph = result.graph
    tensors = (*model.graph.initializer, *_lifted_constants(graph))
    weights = {t.name: t for t in tensors if t.data_type == TensorProto.FLOAT}
    graph.initializer.extend(t for t in tensors if t.name not in weights)
    kept = frozenset(name_of(n) for n in graph.node if name_of(n) in keep or _overflows(n, weights))
    floats = {name for name, kind in value_types(model).items() if kind.elem_type == TensorProto.FLOAT}
    floats -= weights.keys()  # Constants are values of the old graph, weights of the new
    stays = kept | _size_arithmetic(graph, {t.name for t in tensors})
    underflowed = _convert_weights(graph, weights, stays)
    _insert_casts(graph, floats, stays)
    try:
        onnx.checker.check_model(result)
        value_types(result, strict=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = one_line(error)
        raise ExportError(f"FP16 graph must be valid, got {reason}. Report this graph; use fp32.") from error
    return Fp16Graph(result, tuple(sorted(kept)), underflowed)


def fp16_overflows(model: onnx.ModelProto, absmax: Mapping[str, float]) -> frozenset[str]:
    """Find the nodes that read or compute a value beyond half precision; `absmax` is the largest |x| by value name."""
    limit = FP16_MAX / _HEADROOM
    bad = {name for name, value in absmax.items() if not value <= limit or 0 < value < _MIN_NORMAL}
    return frozenset(name_of(n) for n in model.graph.node if bad & {*n.input, *n.output})


def _lifted_constants(graph: onnx.GraphProto) -> list[TensorProto]:
    """Remove the float Constant nodes and return their tensors, so that there is one kind of weight."""
    lifted = []
    for node in [n for n in graph.node if n.op_type == "Constant" and n.attribute[0].name in _CONSTANT_KINDS]:
        attribute = node.attribute[0]
        if attribute.name == "value":
            tensor = attribute.t
            tensor.name = node.output[0]
        else:
            values = np.array(helper.get_attribute_value(attribute), np.float32)
            tensor = numpy_helper.from_array(values, node.output[0])
        lifted.append(tensor)
        graph.node.remove(node)
    return lifted


def _overflows(node: onnx.NodeProto, weights: dict[str, TensorProto]) -> bool:
    slots = _FP32_INPUTS.get(node.op_type, ())
    return any(
        float(np.abs(numpy_helper.to_array(weights[name])).max(initial=0)) > FP16_MAX
        for slot, name in enumerate(node.input)
        if name in weights and slot not in slots
    )


def _size_arithmetic(graph: onnx.GraphProto, weights: set[str]) -> frozenset[str]:
    """Return the names of the nodes that read only shapes and weights."""
    sizes: set[str] = set()
    found = set()
    for node in graph.node:
        data = {name for name in node.input if name and name not in weights}
        if node.op_type in {"Shape", "Size"} or (data and data <= sizes):
            sizes.update(node.output)
            found.add(name_of(node))
    return frozenset(found)


def _convert_weights(graph: onnx.GraphProto, weights: dict[str, TensorProto], kept: frozenset[str]) -> int:
    """Give each node its weights in the type it computes in; return how many weights became zero."""
    halves: dict[str, str] = {}
    floats = {v.name for v in graph.output}  # a weight may be an output itself
    underflowed = 0
    for node in graph.node:
        slots, stays = _FP32_INPUTS.get(node.op_type, ()), name_of(node) in kept
        for slot, name in enumerate(node.input):
            if name not in weights:
                continue
            if stays or slot in slots:
                floats.add(name)
                continue
            if name not in halves:
                halves[name] = f"{name}_fp16"
                array = numpy_helper.to_array(weights[name])
                half = array.astype(np.float16)
                underflowed += int(np.count_nonzero((half == 0) & (array != 0)))
                graph.initializer.append(numpy_helper.from_array(half, halves[name]))
            node.input[slot] = halves[name]
    graph.initializer.extend(weights[name] for name in weights if name in floats or name not in halves)
    return underflowed


def _insert_casts(graph: onnx.GraphProto, floats: set[str], kept: frozenset[str]) -> None:
    """Cast each value at most once per direction, right after its producer."""
    outputs = {v.name for v in graph.output} & floats
    inputs = {v.name for v in graph.input} & floats
    half: set[str] = set()  # values in half precision
    casts: dict[tuple[str, int], str] = {}
    nodes: list[onnx.NodeProto] = []

    def cast(name: str, to: int) -> str:
        if (name, to) not in casts:
            made = casts[name, to] = f"{name}_{'fp16' if to == TensorProto.FLOAT16 else 'fp32'}"
            nodes.append(helper.make_node("Cast", [name], [made], f"{made}_cast", to=to))
        return casts[name, to]

    for node in graph.node:
        stays, slots = name_of(node) in kept, _FP32_INPUTS.get(node.op_type, ())
        for slot, name in enumerate(node.input):
            wants_half = not stays and slot not in slots
            if name in inputs | floats and wants_half and name not in half:
                node.input[slot] = cast(name, TensorProto.FLOAT16)
            elif name in half and not wants_half:
                node.input[slot] = cast(name, TensorProto.FLOAT)
        computed = [o for o in node.output if o in floats]
        if not stays:
            _retarget(node)
            half.update(computed)
        nodes.append(node)
        for name in outputs & half & set(computed):
            # The output stays float32 under its name: a Cast follows the half value, which readers in the graph take.
            inner = casts[name, TensorProto.FLOAT16] = f"{name}_half"
            node.output[list(node.output).index(name)] = inner
            nodes.append(helper.make_node("Cast", [inner], [name], f"{name}_cast", to=TensorProto.FLOAT))
            half.discard(name)
            half.add(inner)
    del graph.node[:]
    graph.node.extend(nodes)


def _retarget(node: onnx.NodeProto) -> None:
    """Replace float by half in attributes that name the output type."""
    if node.op_type == "ConstantOfShape" and not node.attribute:  # its default is a float zero
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float16))))
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        if node.op_type == "ConstantOfShape" and attribute.name == "value":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                array = numpy_helper.to_array(attribute.t)
            if array.dtype == np.float32:
                attribute.t.CopyFrom(numpy_helper.from_array(array.astype(np.float16)))
