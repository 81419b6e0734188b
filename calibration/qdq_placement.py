"""Placement of Q/DQ pairs in an HRNet, and the nodes kept in float.

README.md beside this file has the reasons and the measurements behind each rule.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import onnx

from hrnet_deploy.calibration.data_flow import PASSIVE, Flow, data_flow
from hrnet_deploy.qdq_plan import INTEGER_INPUT, QdqPlan, QdqTarget, Residual, name_of

_WEIGHTED = {"Conv", "Gemm"}
_CPU_OPS = {"Conv", "Relu", "Add", "Resize", "Concat", "MaxPool"}
"""The operators of HRNet's trunk that ONNX Runtime's CPU provider computes in INT8."""
_READ_INT8 = {"Resize", "MaxPool", "AveragePool", "GlobalAveragePool"}
_FLOAT_CONVOLUTIONS = {QdqTarget.CPU: 1, QdqTarget.TENSORRT: 2}
"""Number of the stem's two convolutions that are kept in float."""
_FLOORS = {1: "minmax", 2: "mse"}
"""By depth of the convolution that reads a value: the method that gives its minimum threshold."""


def float_by_default(model: onnx.ModelProto, target: QdqTarget) -> frozenset[str]:
    """Name the nodes of a float32 graph that are kept in float unless the user decides otherwise.

    For the CPU these are sums on small maps and the stem's first convolution, unless it reads integers; for TensorRT
    the stem and the last layer.
    """
    flow = data_flow(model)
    depths = _depths(flow)
    convolutions = 0 if INTEGER_INPUT in flow.producer else _FLOAT_CONVOLUTIONS[target]
    stem = frozenset(name_of(n) for n in flow.nodes if depths[n.output[0]] <= convolutions)
    return stem | (_low_resolution_sums(flow) if target is QdqTarget.CPU else _output_layers(flow))


def threshold_floors(model: onnx.ModelProto) -> dict[str, str]:
    """Find the stem tensors that have a minimum threshold: clipping there affects every later layer.

    Returns:
        By value, the method whose threshold is the minimum: the image is not clipped, and the input of the second
        convolution no further than the least square error requires.
    """
    flow = data_flow(model)
    depths = _depths(flow)
    convolutions = (node for node in flow.nodes if node.op_type == "Conv")
    found = {node.input[0]: _FLOORS.get(depths[node.output[0]]) for node in convolutions}
    return {value: method for value, method in found.items() if method}


def place_qdq(
    model: onnx.ModelProto, target: QdqTarget, keep: Collection[str], residual: Residual = Residual.FLOAT
) -> QdqPlan:
    """Decide where the Q/DQ pairs of a simplified float32 graph go.

    Args:
        model: the graph.
        target: the runtime.
        keep: names of nodes kept in float.
        residual: what sums read in the layout for TensorRT; the layout for the CPU has its own rules.
    """
    flow = data_flow(model)
    return _place_for_cpu(flow, keep) if target is QdqTarget.CPU else _place_for_tensorrt(flow, keep, residual)


def residual_inputs(model: onnx.ModelProto) -> frozenset[str]:
    """Name the values that only enter sums before a ReLU, some through a Resize; it cuts off most negative sums."""
    flow = data_flow(model)
    found: set[str] = set()
    for node in flow.nodes:
        is_sum = node.op_type == "Relu" and flow.producer_type(node.input[0]) == "Add"
        pending = list(flow.producer[node.input[0]].input) if is_sum else []
        while pending:
            value = pending.pop()
            kind = flow.producer_type(value)
            if not kind or value in flow.outputs or len(flow.readers[value]) > 1:
                continue
            found.add(value)
            if kind in {"Add", "Resize"}:
                pending += flow.producer[value].input[: 1 if kind == "Resize" else None]
    return frozenset(found)


def _depths(flow: Flow) -> dict[str, int]:
    """Count the convolutions before each value, on the longest path."""
    depths = dict.fromkeys(flow.inputs, 0)
    for node in flow.nodes:
        before = max(depths.get(name, 0) for name in node.input)
        depths.update(dict.fromkeys(node.output, before + (node.op_type == "Conv")))
    return depths


def _output_layers(flow: Flow) -> frozenset[str]:
    """Return the last layer with weights, and all nodes after it."""
    found = set()
    frontier = set(flow.outputs)
    for node in reversed(flow.nodes):
        if frontier.intersection(node.output):
            found.add(name_of(node))
            if node.op_type not in _WEIGHTED:
                frontier.update(node.input)
    return frozenset(found)


def _place_for_cpu(flow: Flow, keep: Collection[str]) -> QdqPlan:
    """Quantize every value between INT8 nodes, so that no kernel falls back to float; the output stays float."""
    integer, weighted = _integer_nodes(flow, keep)
    tensors: list[str] = []
    readers: dict[str, frozenset[str]] = {}
    scale_of: dict[str, str] = {}
    for value in flow.values:
        producer, reading = flow.producer.get(value), flow.readers.get(value, [])
        is_integer = producer is not None and name_of(producer) in integer
        integer_readers = [n for n in reading if name_of(n) in integer or name_of(n) in weighted]
        if not reading or not (is_integer or integer_readers):
            continue
        if is_integer and [n.op_type for n in reading] == ["Relu"] and integer_readers:
            continue  # the ReLU is part of the requantization
        tensors.append(value)
        # A reader of the value itself, even of its shape, would keep the value in float.
        everyone = [*reading, *flow.shape_readers.get(value, ())]
        readers[value] = frozenset(map(name_of, everyone if is_integer else integer_readers))
        source = flow.source(value)
        if source != value:
            scale_of[value] = source
    return QdqPlan(QdqTarget.CPU, tuple(tensors), frozenset(weighted), readers, scale_of)


def _integer_nodes(flow: Flow, keep: Collection[str]) -> tuple[set[str], set[str]]:
    """Return the names of the nodes with INT8 output, and of those with INT8 weights."""
    integer: set[str] = set()
    weighted: set[str] = set()
    output_layers = _output_layers(flow)
    for node in flow.nodes:
        name, producer = name_of(node), flow.producer.get(node.input[0])
        is_integer = node.op_type in _CPU_OPS and name not in keep
        if node.op_type in _WEIGHTED and name not in keep and flow.has_stored_weights(node):
            weighted.add(name)
        if node.op_type == "Conv":
            is_integer = name in weighted
        if node.op_type == "Relu" and producer is not None:
            # It clips the requantized values of its producer; kept in float or not, it costs nothing.
            is_integer = name_of(producer) in integer
        if is_integer and name not in output_layers:
            integer.add(name)
    return integer, weighted


def _low_resolution_sums(flow: Flow) -> frozenset[str]:
    """Return the sums on smaller maps than the largest sum: their rounding error affects all later layers."""
    halvings: dict[str, float] = dict.fromkeys(flow.inputs, 0.0)
    sums: dict[str, float] = {}
    for node in flow.nodes:
        known = [halvings[name] for name in node.input if name in halvings]
        if not known or node.op_type == "Resize":
            continue  # the output of a Resize gets its resolution from the other input of its sum, or the next sum
        strides = next((a.ints for a in node.attribute if a.name == "strides"), (1,))
        here = max(known) + math.log2(strides[0])
        halvings.update(dict.fromkeys(node.output, here))
        if node.op_type == "Add":
            sums[name_of(node)] = here
    largest = min(sums.values(), default=0.0)
    return frozenset(name for name, here in sums.items() if here > largest)


def _place_for_tensorrt(flow: Flow, keep: Collection[str], residual: Residual) -> QdqPlan:
    """Quantize convolution inputs, and the operand of a sum that no convolution computes.

    Keeping more nodes in float only removes pairs, so one table serves every plan.
    """
    convolutions = [node for node in flow.nodes if node.op_type == "Conv" and flow.has_stored_weights(node)]
    weighted = frozenset(name_of(node) for node in convolutions if name_of(node) not in keep)
    readers: dict[str, set[str]] = {}
    for node in convolutions:
        if name_of(node) in weighted:
            readers.setdefault(node.input[0], set()).add(name_of(node))
    scale_of: dict[str, str] = {}
    if residual is Residual.INT8 and weighted:
        _add_residual_readers(flow, keep, weighted, readers)
        # A pair behind a Resize with the scale of the pair before it rounds nothing a second time.
        sources = {value: flow.source(value) for value in readers if flow.producer_type(value) in PASSIVE}
        scale_of = {value: source for value, source in sources.items() if source != value}
    order = tuple(value for value in flow.values if value in readers)
    return QdqPlan(QdqTarget.TENSORRT, order, weighted, {k: frozenset(v) for k, v in readers.items()}, scale_of)


def _add_residual_readers(
    flow: Flow, keep: Collection[str], weighted: Collection[str], readers: dict[str, set[str]]
) -> None:
    """Let sums, Resize and pooling read INT8 copies."""
    nodes = [node for node in flow.nodes if name_of(node) not in keep]
    for node in nodes:
        producer = flow.producer.get(node.input[0])
        if node.op_type in _READ_INT8 and producer is not None and name_of(producer) not in keep:
            readers.setdefault(node.input[0], set()).add(name_of(node))
    sums = [node for node in nodes if node.op_type == "Add" and not flow.weights.intersection(node.input)]
    for node in sums:
        fused = _fused(flow, node)
        if fused is not None and name_of(flow.producer[fused]) in weighted:
            for value in set(node.input) - {fused}:
                readers.setdefault(value, set()).add(name_of(node))
    # A single reader of the value itself would force a float copy beside the INT8 one.
    for node in sums:
        for value in readers.keys() & set(node.input) - {_fused(flow, node)}:
            readers[value].add(name_of(node))


def _fused(flow: Flow, node: onnx.NodeProto) -> str | None:
    """Return the operand whose convolution can add the other one: that of the last convolution with one reader."""
    alone = [v for v in node.input if len(flow.readers.get(v, ())) == 1 and v not in flow.outputs]
    computed = [v for v in alone if flow.producer_type(v) == "Conv" and flow.has_stored_weights(flow.producer[v])]
    return max(computed, key=lambda value: flow.nodes.index(flow.producer[value]), default=None)
