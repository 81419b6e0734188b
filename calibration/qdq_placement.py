"""The HRNet recipe: which values carry Q/DQ pairs, and which nodes stay in floating point.

The reasons and the measurements behind each rule are in README.md beside this file.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import onnx

from hrnet_deploy.calibration.data_flow import Flow, data_flow, name_of
from hrnet_deploy.calibration.tensorrt_layout import place_for_tensorrt
from hrnet_deploy.qdq_plan import WHOLE_LEVELS, QdqPlan, QdqTarget, Residual

__all__ = ["float_by_default", "name_of", "place_qdq", "residual_inputs", "threshold_floors"]

_WEIGHTED = {"Conv", "Gemm"}
_CPU_OPS = {"Conv", "Relu", "Add", "Resize", "Concat", "MaxPool"}
"""What ONNX Runtime's CPU provider computes in INT8 and HRNet's trunk is made of."""
_FLOAT_CONVOLUTIONS = {QdqTarget.CPU: 1, QdqTarget.TENSORRT: 2}
"""How many of the stem's two stay in floating point."""
_FLOORS = {1: "minmax", 2: "mse"}
"""By the convolution that reads a value, counted from the input: the method whose threshold is the least it gets."""


def float_by_default(model: onnx.ModelProto, target: QdqTarget) -> frozenset[str]:
    """Nodes the recipe keeps in floating point.

    Args:
        model: a float32 graph.
        target: whose kernels to suit: for the CPU sums on small maps and, unless it reads whole grey levels, the stem's
            first convolution; for TensorRT the stem and the last layer.

    Returns:
        Node names.
    """
    flow = data_flow(model)
    depths = _depths(flow)
    convolutions = 0 if WHOLE_LEVELS in flow.maker else _FLOAT_CONVOLUTIONS[target]
    stem = frozenset(name_of(n) for n in flow.nodes if depths[n.output[0]] <= convolutions)
    return stem | (_low_resolution_sums(flow) if target is QdqTarget.CPU else _answering(flow))


def threshold_floors(model: onnx.ModelProto) -> dict[str, str]:
    """Values of the stem that a method may clip no harder than another one: what they lose, every later layer lacks.

    Args:
        model: a float32 graph.

    Returns:
        The other method by value: the picture is not clipped at all, and what the second convolution reads no harder
        than the least square error asks for.
    """
    flow = data_flow(model)
    depths = _depths(flow)
    convolutions = (node for node in flow.nodes if node.op_type == "Conv")
    found = {node.input[0]: _FLOORS.get(depths[node.output[0]]) for node in convolutions}
    return {value: method for value, method in found.items() if method}


def place_qdq(
    model: onnx.ModelProto, target: QdqTarget, keep: Collection[str], residual: Residual = Residual.FLOAT
) -> QdqPlan:
    """Decide where Q/DQ pairs go.

    Args:
        model: a simplified float32 graph.
        target: whose kernels to suit.
        keep: names of nodes that stay in floating point.
        residual: what sums read in the layout for TensorRT; the one for the CPU has rules of its own.

    Returns:
        The plan; empty where every node is kept.
    """
    flow = data_flow(model)
    return _for_cpu(flow, keep) if target is QdqTarget.CPU else place_for_tensorrt(flow, keep, residual)


def residual_inputs(model: onnx.ModelProto) -> frozenset[str]:
    """Values that do nothing but enter sums which end in a ReLU: it cuts off much of what is far below zero.

    Args:
        model: a float32 graph.

    Returns:
        Names of values, those that reach their sum through a Resize among them.
    """
    flow = data_flow(model)
    found: set[str] = set()
    for node in flow.nodes:
        last = flow.maker.get(node.input[0])
        pending = list(last.input) if node.op_type == "Relu" and last is not None and last.op_type == "Add" else []
        while pending:
            value = pending.pop()
            maker = flow.maker.get(value)
            if maker is None or value in flow.outputs or len(flow.readers[value]) > 1:
                continue
            found.add(value)
            if maker.op_type in {"Add", "Resize"}:
                pending += maker.input[: 1 if maker.op_type == "Resize" else None]
    return frozenset(found)


def _depths(flow: Flow) -> dict[str, int]:
    """How many convolutions lie before each value, on the longest way."""
    depths = dict.fromkeys(flow.inputs, 0)
    for node in flow.nodes:
        before = max(depths.get(name, 0) for name in node.input)
        depths.update(dict.fromkeys(node.output, before + (node.op_type == "Conv")))
    return depths


def _answering(flow: Flow) -> frozenset[str]:
    """The layer that makes the answer, and all that follows it."""
    found = set()
    frontier = set(flow.outputs)
    for node in reversed(flow.nodes):
        if frontier.intersection(node.output):
            found.add(name_of(node))
            if node.op_type not in _WEIGHTED:
                frontier.update(node.input)
    return frozenset(found)


def _for_cpu(flow: Flow, keep: Collection[str]) -> QdqPlan:
    """Every value between INT8 nodes is INT8, so that no kernel falls back to floating point; the answer is not."""
    integer: set[str] = set()
    weighted: set[str] = set()
    answering = _answering(flow)
    for node in flow.nodes:
        name, maker = name_of(node), flow.maker.get(node.input[0])
        wanted = node.op_type in _CPU_OPS and name not in keep
        if node.op_type in _WEIGHTED and name not in keep and flow.stores_weights_of(node):
            weighted.add(name)
        if node.op_type == "Conv":
            wanted = name in weighted
        if node.op_type == "Relu" and maker is not None:
            wanted = name_of(maker) in integer  # it clips what its maker requantises; kept or not, it costs nothing
        if wanted and name not in answering:
            integer.add(name)
    values = (*flow.inputs, *(name for node in flow.nodes for name in node.output))
    tensors: list[str] = []
    readers: dict[str, frozenset[str]] = {}
    scale_of: dict[str, str] = {}
    for value in values:
        maker, reading = flow.maker.get(value), flow.readers.get(value, [])
        made = maker is not None and name_of(maker) in integer
        integer_readers = [n for n in reading if name_of(n) in integer or name_of(n) in weighted]
        if not reading or not (made or integer_readers):
            continue
        if made and [n.op_type for n in reading] == ["Relu"] and integer_readers:
            continue  # the ReLU is part of the requantisation
        tensors.append(value)
        # Whoever read the value itself, if only its shape, would keep it in floating point.
        everyone = [*reading, *flow.measurers.get(value, ())]
        readers[value] = frozenset(map(name_of, everyone if made else integer_readers))
        source = flow.source(value)
        if source != value:
            scale_of[value] = source
    return QdqPlan(QdqTarget.CPU, tuple(tensors), frozenset(weighted), readers, scale_of)


def _low_resolution_sums(flow: Flow) -> frozenset[str]:
    """Sums on maps smaller than the largest that is summed up: what they would round off stays in all that follows.

    What a Resize makes has no resolution of its own here: a sum's other input, or the sum after it, tells.
    """
    halvings: dict[str, float] = dict.fromkeys(flow.inputs, 0.0)
    sums: dict[str, float] = {}
    for node in flow.nodes:
        known = [halvings[name] for name in node.input if name in halvings]
        if not known or node.op_type == "Resize":
            continue
        strides = next((a.ints for a in node.attribute if a.name == "strides"), (1,))
        here = max(known) + math.log2(strides[0])
        halvings.update(dict.fromkeys(node.output, here))
        if node.op_type == "Add":
            sums[name_of(node)] = here
    largest = min(sums.values(), default=0.0)
    return frozenset(name for name, here in sums.items() if here > largest)
