"""INT8 graphs with QuantizeLinear and DequantizeLinear pairs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    weights = stored_tensors(model)
    writer = _Writer(plan, ranges, rounded or {}, per_channel=per_channel)
    for entry in graph.input:
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
            writer.pair(value)
    _replace_content(graph, writer, weights)
    return result


def _replace_content(graph: onnx.GraphProto, writer: _Writer, weights: Collection[str]) -> None:
    """Put the written nodes and tensors into the graph, without weights that nothing reads any more."""
    replace_nodes(graph, writer.nodes)
    used = read_names(graph)
    replace_nodes(graph, [n for n in graph.node if n.output[0] in used or not is_stored(n)])
    graph.initializer.extend(writer.tensors)
    drop_unused_tensors(graph)
    # Up to IR version 3 weights are inputs too; a runtime would require one that was removed.
    inputs = [v for v in graph.input if v.name in used or v.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


def _dequantized(value: str) -> str:
    return f"{_PREFIX}{value}_DequantizeLinear_Output"


class _Writer:
    """The new nodes and tensors, in graph order."""

    def __init__(
        self,
        plan: QdqPlan,
        ranges: Mapping[str, ActivationRange],
        rounded: Mapping[str, NDArray[np.int8]],
        *,
        per_channel: bool,
    ) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._plan = plan
        self._ranges = ranges
        self._rounded = rounded
        self._per_channel = per_channel
        self._planned = frozenset(plan.tensors)
        self._scales: dict[str, float] = {}
        self._stored: dict[str, NDArray[np.float32]] = {}

    def pair(self, value: str) -> None:
        """Quantize and dequantize a value, if the plan places a pair there."""
        if value not in self._planned:
            return
        scale, zero = _parameters(self._ranges[self._plan.scale_of.get(value, value)], self._plan.target)
        self._scales[value] = scale
        self._tensor(f"{value}_scale", np.float32(scale))
        self._tensor(f"{value}_zero_point", zero)
        self._link("QuantizeLinear", value, f"{_PREFIX}{value}_QuantizeLinear_Output", value)
        self._link("DequantizeLinear", f"{_PREFIX}{value}_QuantizeLinear_Output", _dequantized(value), value)

    def weights(self, node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> None:
        """Store a node's weights as INT8, and its bias as INT32 where the target needs it."""
        name = node.input[1]
        source = self._scales[node.input[0]]
        bias = None
        if self._plan.target is QdqTarget.CPU and len(node.input) > 2 and node.input[2]:
            bias = numpy_helper.to_array(weights[node.input[2]]).astype(np.float64)
        array = numpy_helper.to_array(weights[name])
        if bias is not None and np.any(np.abs(bias) > _INT32_ROOM * source * self._stored.get(name, np.inf)):
            name = (
                f"{node.output[0]}_weight"  # another node that shares the weights has scales that cannot hold this bias
            )
        if name not in self._stored:
            self._stored[name] = self._store(name, array, self._rounded.get(node.input[1]), bias, source)
        if bias is not None:
            scales = np.float64(source) * self._stored[name]
            stored = np.clip(np.rint(bias / scales), -_INT32_ROOM, _INT32_ROOM).astype(np.int32)
            own = f"{node.output[0]}_bias"
            self._constant(own, stored, np.broadcast_to(scales, bias.shape).astype(np.float32))
            node.input[2] = _dequantized(own)
        node.input[1] = _dequantized(name)

    def _store(
        self,
        name: str,
        array: NDArray[np.float32],
        rounded: NDArray[np.int8] | None,
        bias: NDArray[np.float64] | None,
        source: float,
    ) -> NDArray[np.float32]:
        usual = scales = weight_scales(array, per_channel=self._per_channel)
        if bias is not None:
            # A near-dead channel with a bias would need more than 32 bits for it, so its scale grows.
            scales = np.maximum(usual, (np.abs(bias) / (source * _INT32_ROOM)).astype(np.float32))
        columns = scales.reshape(-1, *[1] * (array.ndim - 1))
        codes = np.clip(np.rint(array / columns), -127, 127).astype(np.int8)
        if rounded is not None:
            codes = np.where(columns == usual.reshape(columns.shape), rounded, codes)
        self._constant(name, codes, scales)
        return scales

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
