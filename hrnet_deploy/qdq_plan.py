"""The plan of an INT8 graph: calibration decides it and the exporter writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hrnet_deploy.quantization_info import DEFAULT_RESIDUAL, QdqTarget, Residual

if TYPE_CHECKING:
    import onnx

__all__ = ["DEFAULT_RESIDUAL", "INTEGER_INPUT", "ActivationRange", "QdqPlan", "QdqTarget", "Residual", "stored_tensors"]

INTEGER_INPUT = "levels/whole"
"""The value through which the first convolution reads integers (`exporters.integer_input`); INT8 represents it
exactly."""


@dataclass(frozen=True)
class ActivationRange:
    """The range that a tensor's values are clipped to; it contains zero."""

    low: float
    high: float

    @property
    def amax(self) -> float:
        """Largest magnitude, for symmetric scales."""
        return max(-self.low, self.high)


@dataclass(frozen=True)
class QdqPlan:
    """Placement of Q/DQ pairs.

    Attributes:
        tensors: values that get a pair, in graph order.
        weighted: nodes with INT8 weights.
        readers: by value, the nodes that read the dequantized copy; others read the value itself.
        scale_of: from a value to the one whose range it shares; values without an entry have their own.
    """

    target: QdqTarget
    tensors: tuple[str, ...]
    weighted: frozenset[str]
    readers: Mapping[str, frozenset[str]]
    scale_of: Mapping[str, str]

    @property
    def measured(self) -> tuple[str, ...]:
        """The values whose ranges calibration measures."""
        return tuple(dict.fromkeys(self.scale_of.get(name, name) for name in self.tensors))


def name_of(node: onnx.NodeProto) -> str:
    """Return the name that plans and --keep-fp use for a node: its own, else that of its first output."""
    return node.name or node.output[0]


def is_stored(node: onnx.NodeProto) -> bool:
    """Whether a node is a Constant with a tensor, as other exporters store weights."""
    return node.op_type == "Constant" and [attribute.name for attribute in node.attribute] == ["value"]


def stored_tensors(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Collect the stored tensors of a graph by name: initializers and Constants."""
    constants = {node.output[0]: node.attribute[0].t for node in model.graph.node if is_stored(node)}
    return {tensor.name: tensor for tensor in model.graph.initializer} | constants
