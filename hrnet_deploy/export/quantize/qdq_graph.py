"""Q/DQ graphs of one float32 graph, for any calibration table and any blocks kept in float."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hrnet_deploy.qdq_plan import ActivationRange, QdqPlan, QdqTarget, Residual

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from hrnet_deploy.calibration.implicit_int8 import ImplicitInt8
    from hrnet_deploy.calibration.table import CalibrationTable

NONE = "none"
"""Value of --keep-fp that keeps in float only what is named beside it, not even what the layout keeps by itself."""


class QdqLayout:
    """Places of the Q/DQ pairs, for any blocks kept in float."""

    def __init__(self, graph: onnx.ModelProto, target: QdqTarget, residual: Residual) -> None:
        from hrnet_deploy.calibration.blocks import blocks
        from hrnet_deploy.calibration.qdq_placement import float_by_default

        self.graph = graph
        self.blocks = blocks(graph)
        self._target, self._residual = target, residual
        self._default = float_by_default(graph, target)

    def float_nodes(self, keep: tuple[str, ...]) -> frozenset[str]:
        """Name the nodes in float, including those that the layout keeps by itself."""
        from hrnet_deploy.calibration.blocks import resolve

        named = resolve((name for name in keep if name != NONE), self.graph)
        return named if NONE in keep else self._default | named

    def plan(self, keep: tuple[str, ...], only: str | None = None) -> QdqPlan:
        """Place the pairs; with `only`, in that block alone."""
        from hrnet_deploy.calibration.qdq_placement import place_qdq

        nodes = self.float_nodes(keep)
        if only is not None:
            nodes |= frozenset().union(*(nodes for block, nodes in self.blocks.items() if block != only))
        return place_qdq(self.graph, self._target, nodes, self._residual)


@dataclass(frozen=True, kw_only=True)
class QdqGraphs:
    """Writer of the Q/DQ graphs of one float32 graph.

    Attributes:
        graph: the float32 graph.
        layout: of `graph`, or of a variant of it whose input takes integers.
        known: ranges of the values that only that variant has.
        rounded: INT8 levels by name of the weights.
        per_channel: one weight scale per output channel.
        float_nodes: nodes to keep in float32 where the remainder becomes FP16; None for an FP32 remainder.
    """

    graph: onnx.ModelProto
    layout: QdqLayout
    known: Mapping[str, ActivationRange]
    rounded: Mapping[str, NDArray[np.int8]]
    per_channel: bool
    float_nodes: frozenset[str] | None

    def write(self, table: CalibrationTable, keep: tuple[str, ...], only: str | None = None) -> onnx.ModelProto:
        """Write the Q/DQ graph; with `only`, that block alone is INT8."""
        from hrnet_deploy.exporters.fp16 import to_fp16
        from hrnet_deploy.exporters.qdq import to_qdq

        plan = self.layout.plan(keep, only)
        ranges = {**self.known, **self._ranges(table, (name for name in plan.measured if name not in self.known))}
        # If the first convolution stays in float, integers at its input are of no use.
        graph = self.graph if self.known.keys().isdisjoint(plan.tensors) else self.layout.graph
        model = to_qdq(graph, plan, ranges, per_channel=self.per_channel, rounded=self.rounded)
        return model if self.float_nodes is None else to_fp16(model, self.float_nodes).model

    def implicit(self, table: CalibrationTable, keep: tuple[str, ...]) -> ImplicitInt8:
        """Scales of the float32 graph for TensorRT's calibrator, clipped as in its Q/DQ graph."""
        from hrnet_deploy.calibration.implicit_int8 import implicit_int8

        return implicit_int8(self.graph, self._ranges(table, table.tensors), self._tensorrt_float_nodes(keep))

    def untyped(self, keep: tuple[str, ...]) -> onnx.ModelProto:
        """Write the float32 graph with rounded weights, where each channel has its own scale, as in TensorRT."""
        from hrnet_deploy.exporters.baked_weights import with_rounded_weights

        nodes = self._tensorrt_float_nodes(keep)
        floats = {n.input[1] for n in self.graph.graph.node if n.op_type == "Conv" and (n.name or n.output[0]) in nodes}
        rounded = {name: levels for name, levels in self.rounded.items() if name not in floats}
        return with_rounded_weights(self.graph, rounded if self.per_channel else {})

    def _tensorrt_float_nodes(self, keep: tuple[str, ...]) -> frozenset[str]:
        return QdqLayout(self.graph, QdqTarget.TENSORRT, Residual.FLOAT).float_nodes(keep)

    def _ranges(self, table: CalibrationTable, names: Iterable[str]) -> dict[str, ActivationRange]:
        """Clip each value by the method in use, and stem values no lower than the floors of the stem."""
        from hrnet_deploy.calibration.qdq_placement import residual_inputs, threshold_floors

        floors, summands = threshold_floors(self.graph), residual_inputs(self.graph)
        amax = {method: table.amax(method) for method in (table.method, *floors.values())}
        ranges = {}
        for name in names:
            threshold = max(amax[table.method][name], amax[floors.get(name, table.method)][name])
            ranges[name] = table.tensors[name].clipped(threshold, summand=name in summands)
        return ranges
