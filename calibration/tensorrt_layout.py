"""Where TensorRT wants Q/DQ pairs: at convolution inputs, and on the operand of a sum that no convolution makes."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from hrnet_deploy.calibration.data_flow import PASSIVE, Flow, name_of
from hrnet_deploy.qdq_plan import QdqPlan, QdqTarget, Residual

_PASSED_ON = {"Resize", "MaxPool", "AveragePool", "GlobalAveragePool"}


def place_for_tensorrt(flow: Flow, keep: Collection[str], residual: Residual) -> QdqPlan:
    """Decide where the pairs go.

    Args:
        flow: of a float32 graph.
        keep: names of nodes that stay in floating point.
        residual: FLOAT for pairs at convolution inputs alone; INT8 for pairs on the values that are added to a
            convolution's result, and on the inputs of Resize and pooling, too.

    Returns:
        The plan. What carries a pair at all is a subset of what does with nothing kept, so one table serves every plan.
    """
    convolutions = [node for node in flow.nodes if node.op_type == "Conv" and flow.stores_weights_of(node)]
    weighted = frozenset(name_of(node) for node in convolutions if name_of(node) not in keep)
    readers: dict[str, set[str]] = {}
    for node in convolutions:
        if name_of(node) in weighted:
            readers.setdefault(node.input[0], set()).add(name_of(node))
    scale_of: dict[str, str] = {}
    if residual is Residual.INT8 and weighted:
        _read_copies(flow, keep, weighted, readers)
        # A pair behind a Resize at the scale of the one before it rounds nothing that is rounded already.
        sources = {value: flow.source(value) for value in readers if flow.maker_type(value) in PASSIVE}
        scale_of = {value: source for value, source in sources.items() if source != value}
    order = tuple(value for value in flow.values if value in readers)
    return QdqPlan(QdqTarget.TENSORRT, order, weighted, {k: frozenset(v) for k, v in readers.items()}, scale_of)


def _read_copies(flow: Flow, keep: Collection[str], weighted: Collection[str], readers: dict[str, set[str]]) -> None:
    """Let sums, Resize and pooling read INT8 copies."""
    nodes = [node for node in flow.nodes if name_of(node) not in keep]
    for node in nodes:
        maker = flow.maker.get(node.input[0])
        if node.op_type in _PASSED_ON and maker is not None and name_of(maker) not in keep:
            readers.setdefault(node.input[0], set()).add(name_of(node))
    sums = [node for node in nodes if node.op_type == "Add" and not flow.weights.intersection(node.input)]
    for node in sums:
        fused = _fused(flow, node)
        if fused is not None and name_of(flow.maker[fused]) in weighted:
            for value in set(node.input) - {fused}:
                readers.setdefault(value, set()).add(name_of(node))
    # One reader of the value itself, and it must be written in floating point beside its copy.
    for node in sums:
        for value in readers.keys() & set(node.input) - {_fused(flow, node)}:
            readers[value].add(name_of(node))


def _fused(flow: Flow, node: onnx.NodeProto) -> str | None:
    """The operand whose convolution can add the other one: the last convolution's, which nothing else reads."""
    alone = [v for v in node.input if len(flow.readers.get(v, ())) == 1 and v not in flow.outputs]
    made = [v for v in alone if flow.maker_type(v) == "Conv" and flow.stores_weights_of(flow.maker[v])]
    return max(made, key=lambda value: flow.nodes.index(flow.maker[value]), default=None)
