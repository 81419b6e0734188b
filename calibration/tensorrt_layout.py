"""Q/DQ pairs for TensorRT: at convolution inputs, and on the operand of a sum that no convolution computes."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from hrnet_deploy.calibration.data_flow import PASSIVE, Flow
from hrnet_deploy.qdq_plan import QdqPlan, QdqTarget, Residual, name_of

_READ_INT8 = {"Resize", "MaxPool", "AveragePool", "GlobalAveragePool"}


def place_for_tensorrt(flow: Flow, keep: Collection[str], residual: Residual) -> QdqPlan:
    """Decide where the pairs go; keeping more nodes in float only removes pairs, so one table serves every plan."""
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
