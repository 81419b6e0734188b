"""Conversion of the float32 graph to the precision of an export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.quantize.converted_graph import ConvertedGraph
from hrnet_deploy.export.quantize.float_graph import FloatGraph
from hrnet_deploy.export.quantize.fp16 import Fp16Converter
from hrnet_deploy.export.quantize.int8 import Int8Converter
from hrnet_deploy.export.verify import ReferenceBatch, check_graph
from hrnet_deploy.spec import Precision

if TYPE_CHECKING:
    import onnx


class Converter(Protocol):
    """Converts one graph as often as needed, with any blocks kept in float."""

    @property
    def source(self) -> FloatGraph:
        """The float32 graph that is converted."""
        ...

    def kept(self) -> tuple[str, ...]:
        """Name the blocks and nodes kept in float as the user requested."""
        ...

    def sensitivity_order(self) -> tuple[str, ...]:
        """Order the blocks that may be kept beyond `kept()`, most sensitive first; measured once."""
        ...

    def graph(self, keep: tuple[str, ...]) -> onnx.ModelProto:
        """Convert without validation.

        Args:
            keep: Blocks to keep in float beyond `kept()`.

        Returns:
            A new graph with its input and output as planned.
        """
        ...

    def convert(self, keep: tuple[str, ...]) -> ConvertedGraph:
        """Convert, and compare the outputs on validation images.

        Args:
            keep: Blocks to keep in float beyond `kept()`.

        Raises:
            VerificationError: The INT8 graph does not work at all.
        """
        ...


class Fp32Converter:
    """Conversion to float32: one graph, nothing to keep."""

    def __init__(self, source: FloatGraph) -> None:
        self.source = source

    def kept(self) -> tuple[str, ...]:
        """Name no block."""
        return ()

    def sensitivity_order(self) -> tuple[str, ...]:
        """Order no block."""
        return ()

    def graph(self, _keep: tuple[str, ...]) -> onnx.ModelProto:
        """Copy the graph and add its ends."""
        return self.source.with_ends(self.source.copy())

    def convert(self, keep: tuple[str, ...]) -> ConvertedGraph:
        """Copy the graph and add its ends."""
        return ConvertedGraph(graph=self.graph(keep), batches=self.source.batches)


def make_converter(graph: onnx.ModelProto, plan: ExportPlan, batches: Sequence[ReferenceBatch]) -> Converter:
    """Measure once what the precision of an export needs: value ranges for FP16, a calibration for INT8.

    Args:
        graph: The simplified float32 graph.
        plan: The export.
        batches: Inputs and outputs of the original.

    Returns:
        The converter of the plan's precision.

    Raises:
        UsageError: No calibration images, or a method or block that does not exist.
        VerificationError: The graph differs from its original.
        HrnetDeployError: Whatever calibrating raises.
    """
    source = FloatGraph(graph, plan, batches)
    if plan.precision is Precision.INT8:
        check_graph(graph, batches)
        return Int8Converter(source)
    return Fp16Converter(source) if plan.precision is Precision.FP16 else Fp32Converter(source)
