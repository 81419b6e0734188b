"""Producers and readers of the values in a graph."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx
from onnx import helper

from hrnet_deploy.qdq_plan import stored_tensors

PASSIVE = {"Resize", "MaxPool"}
"""Their output lies within their input's range: it shares the scale and needs no requantization."""
_SIZES = {"Shape", "Size"}


@dataclass(frozen=True)
class Flow:
    """The nodes of a graph that compute data, in graph order, without sizes computed from shapes.

    Attributes:
        weights: names of stored tensors.
        shape_readers: by value, the nodes that read only its shape.
    """

    nodes: tuple[onnx.NodeProto, ...]
    weights: frozenset[str]
    inputs: tuple[str, ...]
    outputs: frozenset[str]
    producer: dict[str, onnx.NodeProto] = field(default_factory=dict)
    readers: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)
    shape_readers: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)

    @property
    def values(self) -> tuple[str, ...]:
        """Names of all values that hold data, in graph order."""
        return (*self.inputs, *(name for node in self.nodes for name in node.output if name))

    def producer_type(self, value: str) -> str:
        """Return the operator that computes a value; "" for an input of the graph."""
        return self.producer[value].op_type if value in self.producer else ""

    def source(self, value: str) -> str:
        """Return the value whose range this one shares, so that one table serves every plan."""
        while self.producer_type(value) in PASSIVE:
            value = self.producer[value].input[0]
        return value

    def has_stored_weights(self, node: onnx.NodeProto) -> bool:
        """Whether a node's weights and bias are stored tensors, with one row of weights per output."""
        stored = all(name in self.weights for name in node.input[1:] if name)
        if node.op_type == "Conv":
            return stored
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        gemm = {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0} | attributes
        return stored and gemm == {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}


def data_flow(model: onnx.ModelProto) -> Flow:
    """Follow the data through a graph."""
    weights = frozenset(stored_tensors(model))
    inputs = tuple(v.name for v in model.graph.input if v.name not in weights)
    data = set(inputs)
    nodes = []
    for node in model.graph.node:
        if node.op_type not in _SIZES and data.intersection(node.input):
            data.update(filter(None, node.output))  # an omitted output has an empty name
            nodes.append(node)
    flow = Flow(tuple(nodes), weights, inputs, frozenset(v.name for v in model.graph.output))
    for node in model.graph.node:
        if node.op_type in _SIZES and node.input[0] in data:
            flow.shape_readers.setdefault(node.input[0], []).append(node)
    for node in nodes:
        flow.producer.update(dict.fromkeys(node.output, node))
        for name in data.intersection(node.input):
            flow.readers.setdefault(name, []).append(node)
    return flow
