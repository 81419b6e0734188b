"""A graph as the data flows through it: what makes and what reads each value."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx
from onnx import helper

from hrnet_deploy.qdq_plan import stored_tensors

PASSIVE = {"Resize", "MaxPool"}
"""These make no value beyond their input's range, so they share its scale and cost no requantisation."""
_SIZES = {"Shape", "Size"}


@dataclass(frozen=True)
class Flow:
    """The nodes that compute data.

    Attributes:
        nodes: in graph order; sizes computed from shapes are left out.
        weights: names of stored tensors.
        maker: by value, the node that computes it.
        readers: by value, the nodes that read it.
        measurers: by value, the nodes that read only its shape.
        inputs: of the graph.
        outputs: of the graph.
    """

    nodes: tuple[onnx.NodeProto, ...]
    weights: frozenset[str]
    maker: dict[str, onnx.NodeProto] = field(default_factory=dict)
    readers: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)
    measurers: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: frozenset[str] = frozenset()

    @property
    def values(self) -> tuple[str, ...]:
        """Names of all values that hold data, in graph order."""
        return (*self.inputs, *(name for node in self.nodes for name in node.output if name))

    def maker_type(self, value: str) -> str:
        """The operator that computes a value; "" for an input of the graph."""
        return self.maker[value].op_type if value in self.maker else ""

    def source(self, value: str) -> str:
        """The value whose range this one shares, whatever is kept: so one table serves every plan."""
        maker = self.maker.get(value)
        while maker is not None and maker.op_type in PASSIVE:
            value = maker.input[0]
            maker = self.maker.get(value)
        return value

    def stores_weights_of(self, node: onnx.NodeProto) -> bool:
        """Whether weights and bias are stored, not computed, and the weights a row for each output."""
        stored = all(name in self.weights for name in node.input[1:] if name)
        if node.op_type == "Conv":
            return stored
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0} | given
        return stored and plain == {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}


def data_flow(model: onnx.ModelProto) -> Flow:
    """Follow the data through a graph.

    Args:
        model: any graph.

    Returns:
        Its flow.
    """
    weights = frozenset(stored_tensors(model))
    inputs = tuple(v.name for v in model.graph.input if v.name not in weights)
    data = set(inputs)
    nodes = []
    for node in model.graph.node:
        if node.op_type not in _SIZES and data.intersection(node.input):
            data.update(filter(None, node.output))  # an output that is left out has an empty name
            nodes.append(node)
    flow = Flow(tuple(nodes), weights, inputs=inputs, outputs=frozenset(v.name for v in model.graph.output))
    for node in model.graph.node:
        if node.op_type in _SIZES and node.input[0] in data:
            flow.measurers.setdefault(node.input[0], []).append(node)
    for node in nodes:
        flow.maker.update(dict.fromkeys(node.output, node))
        for name in data.intersection(node.input):
            flow.readers.setdefault(name, []).append(node)
    return flow


def name_of(node: onnx.NodeProto) -> str:
    """A node's name, or the value it makes where it has none.

    Args:
        node: any node.

    Returns:
        What plans and --keep-fp call it.
    """
    return node.name or node.output[0]
