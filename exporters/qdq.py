"""INT8 graphs with QuantizeLinear and DequantizeLinear pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from hrnet_deploy.exporters.graph_edit import copy_of, drop_unused_tensors, read_names, replace_nodes
from hrnet_deploy.qdq_plan import ActivationRange, QdqPlan, QdqTarget, is_stored, name_of, stored_tensors

SCALE_FLOOR = 1e-8
"""Smallest scale: a dead channel or an all-zero tensor would give 0, which TensorRT refuses (issue 3020)."""
_INT32_ROOM = 2.0**30
_PREFIX = "int8/"
"""Prefix of every new name, since foreign graphs have a value `a` beside a weight `a_scale`."""


def weight_scales(weights: NDArray[np.float32], *, per_channel: bool) -> NDArray[np.float32]:
    """Compute the INT8 scale of each output of a weight (outputs, ...), at least `SCALE_FLOOR`, or one for all."""
    largest = np.abs(weights.reshape(len(weights), -1)).max(axis=1)
    largest = largest if per_channel else np.full_like(largest, largest.max())
    scales: NDArray[np.float32] = np.maximum(largest / 127, SCALE_FLOOR).astype(np.float32)
    return scales


def to_qdq(
    model: onnx.ModelProto,
    plan: QdqPlan,
    ranges: Mapping[str, ActivationRange],
    *,
    per_channel: bool = True,
    rounded: Mapping[str, NDArray[np.int8]] | None = None,
) -> onnx.ModelProto:
    """Insert Q/DQ pairs into a new graph and quantize its weights.

    1. Each value of the plan gets one pair, read by the nodes that the plan names.
    2. Weights are stored as INT8, symmetric, one scale per output channel.
    3. For the CPU biases are stored as INT32 at the product of both scales; for TensorRT they stay as they are.

    Args:
        model: simplified float32 graph, left as it is.
        plan: the placement.
        ranges: of every value in `plan.measured`.
        per_channel: one scale per output channel, else one per weight.
        rounded: by name, weights that are already codes of `weight_scales`; others go to the nearest code.
    """
    result = copy_of(model)
    graph = result.graph
    del graph.value_info[:]
    weights, planned = stored_tensors(model), frozenset(plan.tensors)
    writer = _Writer(plan, ranges, rounded or {}, per_channel)
    for entry in graph.input:
        if entry.name in planned:
            writer.pair(entry.name)
    for node in graph.node:
        name = name_of(node)
        if name in plan.weighted:
            writer.weights(node, weights)
        for slot, value in enumerate(node.input):
            if name in plan.readers.get(value, ()):
                node.input[slot] = _dequantized(value)
        writer.nodes.append(node)
        for value in node.output:
            if value in planned:
                writer.pair(value)
    replace_nodes(graph, writer.nodes)
    used = read_names(graph)
    replace_nodes(graph, [n for n in graph.node if n.output[0] in used or not is_stored(n)])
    graph.initializer.extend(writer.tensors)
    drop_unused_tensors(graph)
    # Up to IR version 3 weights are inputs too; a runtime would require one that was removed.
    inputs = [v for v in graph.input if v.name in used or v.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    return result


def _dequantized(value: str) -> str:
    return f"{_PREFIX}{value}_DequantizeLinear_Output"


@dataclass
class _Writer:
    """The new nodes and tensors, in graph order, with the scales of values and stored weights."""

    plan: QdqPlan
    ranges: Mapping[str, ActivationRange]
    rounded: Mapping[str, NDArray[np.int8]]
    per_channel: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    scales: dict[str, float] = field(default_factory=dict)
    stored: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def pair(self, value: str) -> None:
        """Quantize and dequantize a value."""
        scale, zero = _parameters(self.ranges[self.plan.scale_of.get(value, value)], self.plan.target)
        self.scales[value] = scale
        self._tensor(f"{value}_scale", np.float32(scale))
        self._tensor(f"{value}_zero_point", zero)
        self._link("QuantizeLinear", value, f"{_PREFIX}{value}_QuantizeLinear_Output", value)
        self._link("DequantizeLinear", f"{_PREFIX}{value}_QuantizeLinear_Output", _dequantized(value), value)

    def weights(self, node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> None:
        """Store a node's weights as INT8, and its bias as INT32 where the target needs it."""
        name, source = node.input[1], self.scales[node.input[0]]
        array, rounded = numpy_helper.to_array(weights[name]), self.rounded.get(name)
        bias = None
        if self.plan.target is QdqTarget.CPU and len(node.input) > 2 and node.input[2]:
            bias = numpy_helper.to_array(weights[node.input[2]]).astype(np.float64)
        # Another node that shares the weights may have scales that cannot hold this bias.
        if bias is not None and np.any(np.abs(bias) > _INT32_ROOM * source * self.stored.get(name, np.inf)):
            name = f"{node.output[0]}_weight"
        if name not in self.stored:
            usual = scales = weight_scales(array, per_channel=self.per_channel)
            if bias is not None:
                # A near-dead channel with a bias would need more than 32 bits for it, so its scale grows.
                scales = np.maximum(usual, (np.abs(bias) / (source * _INT32_ROOM)).astype(np.float32))
            columns = scales.reshape(-1, *[1] * (array.ndim - 1))
            codes = np.clip(np.rint(array / columns), -127, 127).astype(np.int8)
            if rounded is not None:
                codes = np.where(columns == usual.reshape(columns.shape), rounded, codes)
            self._constant(name, codes, scales)
            self.stored[name] = scales
        if bias is not None:
            steps = np.float64(source) * self.stored[name]
            levels = np.clip(np.rint(bias / steps), -_INT32_ROOM, _INT32_ROOM).astype(np.int32)
            own = f"{node.output[0]}_bias"
            self._constant(own, levels, np.broadcast_to(steps, bias.shape).astype(np.float32))
            node.input[2] = _dequantized(own)
        node.input[1] = _dequantized(name)

    def _constant(self, name: str, stored: NDArray[np.generic], scales: NDArray[np.float32]) -> None:
        self._tensor(f"{name}_quantized", stored)
        self._tensor(f"{name}_scale", scales)
        self._tensor(f"{name}_zero_point", np.zeros(scales.shape, stored.dtype))
        self._link("DequantizeLinear", f"{_PREFIX}{name}_quantized", _dequantized(name), name, axis=0)

    def _tensor(self, name: str, array: NDArray[np.generic] | np.generic) -> None:
        self.tensors.append(numpy_helper.from_array(np.asarray(array), f"{_PREFIX}{name}"))

    def _link(self, kind: str, source: str, target: str, parameters: str, **attributes: Any) -> None:
        inputs = [source, f"{_PREFIX}{parameters}_scale", f"{_PREFIX}{parameters}_zero_point"]
        self.nodes.append(helper.make_node(kind, inputs, [target], f"{_PREFIX}{parameters}_{kind}", **attributes))


def _parameters(span: ActivationRange, target: QdqTarget) -> tuple[float, np.generic]:
    """Compute scale and zero point: uint8 over the range for the CPU, int8 around zero for TensorRT."""
    if target is QdqTarget.TENSORRT:
        return float(np.float32(max(span.amax / 127, SCALE_FLOOR))), np.int8(0)
    scale = float(np.float32(max((span.high - span.low) / 255, SCALE_FLOOR)))
    return scale, np.uint8(np.clip(np.rint(-span.low / scale), 0, 255))
