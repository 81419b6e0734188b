"""The quantization of a Q/DQ graph as scales and constraints, which TensorRT 8.6 to 10 takes with a float32 graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx

from hrnet_deploy.calibration.data_flow import data_flow
from hrnet_deploy.qdq_plan import ActivationRange, name_of

_SCALE_PRESERVING = {
    "Relu", "Resize", "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Reshape", "Identity",
}  # fmt: skip
"""Their output lies within their input's range. Source: NVIDIA's qdq_translator.py copies scales across them."""
_CONSTRAINED = {"Conv", "Gemm", "Add", "Relu", "Resize", "MaxPool", "AveragePool", "GlobalAveragePool"}


@dataclass(frozen=True)
class ImplicitInt8:
    """Scales and constraints for TensorRT's calibrator.

    Attributes:
        amax: by value of the float32 graph, the magnitude mapped to 127; a layer without scales stays in float.
        float_nodes: names of the nodes that must stay in float although their values have scales.
    """

    amax: Mapping[str, float]
    float_nodes: frozenset[str]

    def renamed(self, old: str, new: str) -> ImplicitInt8:
        """Return the scales for a graph in which the value `old` is named `new`."""
        amax = {new if name == old else name: value for name, value in self.amax.items()}
        return ImplicitInt8(amax, self.float_nodes)


def implicit_int8(model: onnx.ModelProto, ranges: Mapping[str, ActivationRange], keep: Collection[str]) -> ImplicitInt8:
    """Derive a scale for every value that an INT8 layer reads or computes.

    TensorRT runs a layer in INT8 only if all its inputs and outputs have scales, also those that it fuses away
    (NVIDIA/TensorRT issues 2031 and 2114). Calibration measures the values with Q/DQ pairs; the others follow from it.

    Args:
        model: the float32 graph that TensorRT will parse.
        ranges: of measured values, clipped as in the Q/DQ graph.
        keep: names of nodes kept in float.
    """
    flow = data_flow(model)
    amax = {value: ranges[value].amax for value in flow.values if value in ranges}
    for node in flow.nodes:
        if node.op_type in _SCALE_PRESERVING and node.input[0] in amax:
            amax.setdefault(node.output[0], amax[node.input[0]])
    for node in reversed(flow.nodes):
        # A value that only a ReLU reads is never written: the ReLU is part of the kernel before it.
        if node.op_type == "Relu" and node.output[0] in amax and len(flow.readers[node.input[0]]) == 1:
            amax.setdefault(node.input[0], amax[node.output[0]])
    # Values that only kept nodes use need none.
    used = {v for n in flow.nodes if name_of(n) not in keep for v in (*n.input, *n.output)}
    needed = {value: amax[value] for value in flow.values if value in amax and value in used}
    constrained = frozenset(name_of(n) for n in flow.nodes if n.op_type in _CONSTRAINED and name_of(n) in keep)
    return ImplicitInt8(needed, constrained)
