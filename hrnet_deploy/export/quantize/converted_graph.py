"""Result of a conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hrnet_deploy.export.agreement import Agreement
from hrnet_deploy.export.verify import ReferenceBatch
from hrnet_deploy.quantization_info import QuantizationInfo, Similarity

if TYPE_CHECKING:
    import onnx

    from hrnet_deploy.calibration.implicit_int8 import ImplicitInt8


@dataclass(frozen=True, kw_only=True)
class ConvertedGraph:
    """A graph that is ready to be written.

    Attributes:
        graph: simplified, in its precision, with its input and output as planned.
        batches: inputs and outputs that the written file must reproduce.
        kept_fp32: nodes of an FP16 graph left in float32.
        underflowed: weights that became zero in half precision.
        quantization: for an INT8 graph, how it was quantized.
        sensitivity: by block, the similarity of a graph in which that block alone is INT8; empty unless requested.
        untyped: the float32 graph with the same ends, for a TensorRT whose builder flags set the precision.
        agreement: share of equal outputs on validation images; None for float32, random weights and without images.
        implicit: for an INT8 graph, the same quantization for a TensorRT that reads a calibration cache.
    """

    graph: onnx.ModelProto
    batches: Sequence[ReferenceBatch]
    kept_fp32: tuple[str, ...] = ()
    underflowed: int = 0
    quantization: QuantizationInfo | None = None
    sensitivity: Mapping[str, Similarity] = field(default_factory=dict)
    untyped: onnx.ModelProto | None = None
    agreement: Agreement | None = None
    implicit: ImplicitInt8 | None = None
