"""What an INT8 graph computes in INT8: the plan that calibration makes and the exporter writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hrnet_deploy.quantization_info import DEFAULT_RESIDUAL, QdqTarget, Residual

if TYPE_CHECKING:
    import onnx

__all__ = [
    "DEFAULT_RESIDUAL",
    "WHOLE_LEVELS",
    "ActivationRange",
    "QdqPlan",
    "QdqTarget",
    "Residual",
    "is_stored",
    "stored_tensors",
]

WHOLE_LEVELS = "levels/whole"
"""The value by which the first convolution reads grey levels (`exporters.levels`): in INT8 it loses nothing."""


@dataclass(frozen=True)
class ActivationRange:
    """What a tensor's values are clipped to.

    Attributes:
        low: smallest representable value, at most 0.
        high: largest representable value, at least 0.
    """

    low: float
    high: float

    @property
    def amax(self) -> float:
        """Largest magnitude, for symmetric scales."""
        return max(-self.low, self.high)


@dataclass(frozen=True)
class QdqPlan:
    """Where Q/DQ pairs go.

    Attributes:
        target: whose kernels the layout suits.
        tensors: values that get a pair, in graph order.
        weighted: nodes whose weights are quantised.
        readers: by value, the nodes that read the dequantised copy; others read the value itself.
        scale_of: a value to the one whose range it shares; values without an entry have their own.
    """

    target: QdqTarget
    tensors: tuple[str, ...]
    weighted: frozenset[str]
    readers: Mapping[str, frozenset[str]]
    scale_of: Mapping[str, str]

    @property
    def measured(self) -> tuple[str, ...]:
        """The values whose ranges calibration must find."""
        return tuple(dict.fromkeys(self.scale_of.get(name, name) for name in self.tensors))


def is_stored(node: onnx.NodeProto) -> bool:
    """Whether a node is a stored tensor, as other exporters write weights.

    Args:
        node: any node.

    Returns:
        True for a Constant whose `value` is a tensor.
    """
    return node.op_type == "Constant" and node.attribute[0].name == "value"


def stored_tensors(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """What a graph stores, whichever way: weights, biases, sizes.

    Args:
        model: any graph.

    Returns:
        By name.
    """
    constants = {node.output[0]: node.attribute[0].t for node in model.graph.node if is_stored(node)}
    return {tensor.name: tensor for tensor in model.graph.initializer} | constants
