"""Result of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hrnet_deploy.engines.difference import Difference
from hrnet_deploy.evaluation.waterfall_result import Waterfall
from hrnet_deploy.export.agreement import Agreement
from hrnet_deploy.export.gate.result import GateResult
from hrnet_deploy.quantization_info import Similarity
from hrnet_deploy.spec import ModelCard

if TYPE_CHECKING:
    from hrnet_deploy.export.engine.build import BuiltEngine


@dataclass(frozen=True)
class ExportResult:
    """A finished artifact.

    Attributes:
        difference: distance from the original; None if it was not measured again.
        nodes: number of nodes in the graph.
        kept_fp32: nodes of an FP16 graph left in float32 because half precision cannot hold their values.
        underflowed: weights that became zero in half precision.
        sensitivity: by block, the similarity of a graph in which that block alone is INT8; empty unless requested.
        verdict: result of the accuracy gate, if there was a target.
        waterfall: loss of each step, if requested.
        agreement: share of equal outputs on validation images; None for float32, random weights and without images.
    """

    path: Path
    card: ModelCard
    difference: Difference | None
    nodes: int
    size_bytes: int
    kept_fp32: tuple[str, ...] = ()
    underflowed: int = 0
    sensitivity: Mapping[str, Similarity] = field(default_factory=dict)
    engine: BuiltEngine | None = None
    verdict: GateResult | None = None
    waterfall: Waterfall | None = None
    agreement: Agreement | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        """Return the path: a result serves where a path is expected."""
        return str(self.path)
