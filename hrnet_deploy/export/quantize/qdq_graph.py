"""Q/DQ graphs of one float32 graph, for any calibration table and any blocks kept in float."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from hrnet_deploy.calibration.blocks import blocks, resolve
from hrnet_deploy.calibration.implicit_int8 import ImplicitInt8, implicit_int8
from hrnet_deploy.calibration.qdq_placement import float_by_default, place_qdq, residual_inputs, threshold_floors
from hrnet_deploy.calibration.table import CalibrationTable
from hrnet_deploy.export.quantize.plan import Int8Plan
from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.exporters.qdq import to_qdq
from hrnet_deploy.exporters.tensorrt_graph import with_rounded_weights
from hrnet_deploy.qdq_plan import ActivationRange, QdqPlan, QdqTarget, name_of

NONE = "none"
"""Value of --keep-fp that keeps in float only what is named beside it, not even what the layout keeps by itself."""


@dataclass(frozen=True, kw_only=True)
class QdqGraphs:
    """Writer of the Q/DQ graphs of one float32 graph.

    Attributes:
        variant: `graph`, or a copy of it whose first convolution reads integers; the pairs are placed in it.
        known: ranges of the values that only that variant has.
        rounded: INT8 levels by name of the weights.
        float_nodes: nodes to keep in float32 where the remainder becomes FP16; None for an FP32 remainder.
    """

    plan: Int8Plan
    graph: onnx.ModelProto
    variant: onnx.ModelProto
    known: Mapping[str, ActivationRange]
    rounded: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)
    float_nodes: frozenset[str] | None = None

    @functools.cached_property
    def blocks(self) -> dict[str, frozenset[str]]:
        """Node names by block, in graph order."""
        return blocks(self.variant)

    def place(self, keep: tuple[str, ...], only: str | None = None) -> QdqPlan:
        """Place the pairs; with `only`, in that block alone."""
        nodes = _float_nodes(self.variant, self.plan.target, keep)
        if only is not None:
            nodes |= frozenset().union(*(nodes for block, nodes in self.blocks.items() if block != only))
        return place_qdq(self.variant, self.plan.target, nodes, self.plan.residual)

    def write(self, table: CalibrationTable, keep: tuple[str, ...], only: str | None = None) -> onnx.ModelProto:
        """Write the Q/DQ graph; with `only`, that block alone is INT8."""
        plan = self.place(keep, only)
        ranges = {**self.known, **self._ranges(table, (name for name in plan.measured if name not in self.known))}
        # If the first convolution stays in float, integers at its input are of no use.
        graph = self.graph if self.known.keys().isdisjoint(plan.tensors) else self.variant
        model = to_qdq(graph, plan, ranges, per_channel=self.plan.per_channel, rounded=self.rounded)
        return model if self.float_nodes is None else to_fp16(model, self.float_nodes).model

    def implicit(self, table: CalibrationTable, keep: tuple[str, ...]) -> ImplicitInt8:
        """Scales of the float32 graph for TensorRT's calibrator, clipped as in its Q/DQ graph."""
        nodes = _float_nodes(self.graph, QdqTarget.TENSORRT, keep)
        return implicit_int8(self.graph, self._ranges(table, table.tensors), nodes)

    def untyped(self, keep: tuple[str, ...]) -> onnx.ModelProto:
        """Write the float32 graph with rounded weights, where each channel has its own scale, as in TensorRT."""
        nodes = _float_nodes(self.graph, QdqTarget.TENSORRT, keep)
        floats = {n.input[1] for n in self.graph.graph.node if n.op_type == "Conv" and name_of(n) in nodes}
        rounded = {name: levels for name, levels in self.rounded.items() if name not in floats}
        return with_rounded_weights(self.graph, rounded if self.plan.per_channel else {})

    def _ranges(self, table: CalibrationTable, names: Iterable[str]) -> dict[str, ActivationRange]:
        """Clip each value by the method in use, and stem values no lower than the floors of the stem."""
        floors, summands = threshold_floors(self.graph), residual_inputs(self.graph)
        amax = {method: table.amax(method) for method in (table.method, *floors.values())}
        ranges = {}
        for name in names:
            threshold = max(amax[table.method][name], amax[floors.get(name, table.method)][name])
            ranges[name] = table.tensors[name].clipped(threshold, residual_input=name in summands)
        return ranges


def _float_nodes(graph: onnx.ModelProto, target: QdqTarget, keep: tuple[str, ...]) -> frozenset[str]:
    """Name the nodes in float, including those that the layout keeps by itself."""
    named = resolve((name for name in keep if name != NONE), graph)
    return named if NONE in keep else float_by_default(graph, target) | named
