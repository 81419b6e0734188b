"""The plan of an INT8 graph: calibration decides it and the exporter writes it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


INTEGER_INPUT = "levels/whole"
"""The value through which the first convolution reads integers (`exporters.integer_input`); INT8 represents it
exactly."""


class QdqTarget(str, enum.Enum):
    """The runtime whose INT8 kernels a Q/DQ graph suits."""

    CPU = "cpu"
    """ONNX Runtime and OpenVINO: unsigned activations with a zero point on every value, INT32 biases."""
    TENSORRT = "tensorrt"
    """Symmetric signed activations at convolution inputs, residual sums and biases in floating point."""


class Residual(str, enum.Enum):
    """What the sums of a Q/DQ graph for TensorRT read."""

    INT8 = "int8"
    """One operand through a Q/DQ pair, so that TensorRT adds it inside an INT8 convolution; Resize and pools, too."""
    FLOAT = "float"
    """The values themselves: nothing is rounded between the convolutions."""


DEFAULT_RESIDUAL = Residual.FLOAT
"""The layout whose accuracy meets every target (`calibration/README.md`)."""


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
        target: the runtime.
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
    return node.op_type == "Constant" and node.attribute[0].name == "value"


def stored_tensors(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Collect the stored tensors of a graph by name: initializers and Constants."""
    constants = {node.output[0]: node.attribute[0].t for node in model.graph.node if is_stored(node)}
    return {tensor.name: tensor for tensor in model.graph.initializer} | constants
