"""Result of an export, and the share of outputs that an FP16 or INT8 artifact must keep on validation images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hrnet_deploy.engines.difference import Cosine, Difference
from hrnet_deploy.errors import VerificationError
from hrnet_deploy.evaluation.waterfall_result import Waterfall
from hrnet_deploy.export.gate.result import GateResult
from hrnet_deploy.quantization_info import Similarity
from hrnet_deploy.spec import ModelCard, Precision, Task
from hrnet_deploy.triton.repository import TritonModel

if TYPE_CHECKING:
    from hrnet_deploy.export.engine.build import BuiltEngine


FLOOR = 0.9
"""Share of the float32 graph's outputs, labels or pixels, that FP16 and INT8 must keep.

Trained models keep 96 to 99.9 % with any calibration on images of their kind (benchmarks/results/calibration.md).
Calibrated on black images, the demo's two models kept 0, 61, 73 and 83 %.
"""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Share of outputs of an artifact that equal those of its float32 graph on validation images, and its floor.

    Attributes:
        feature: name of the feature whose mean cosine similarity `share` is; "" for the share of equal predictions.
    """

    precision: Precision
    share: float
    images: int
    floor: float
    feature: str = ""

    @property
    def passed(self) -> bool:
        """Whether enough outputs are equal; a share of NaN never is."""
        return self.share >= self.floor

    def __str__(self) -> str:
        """For example "98.438% of predictions equal (floor 90%)"."""
        if self.feature:
            return f"cosine similarity {self.share:.5f} of {self.feature} (floor {self.floor:g})"
        return f"{self.share:.3%} of predictions equal (floor {self.floor:.0%})"


def floor_for(task: Task, images: int) -> float:
    """Choose the floor: `FLOOR`, but of two to nine labels one may differ, and a single one must be equal."""
    if task is Task.SEGMENTATION or images >= 10:
        return FLOOR
    return 1.0 if images == 1 else (images - 1) / images


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
        features: by name, the cosine similarity of a feature to that of the float32 graph on validation images.
        triton: model in a Triton repository, if requested.
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
    features: Mapping[str, Cosine] = field(default_factory=dict)
    triton: TritonModel | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        """Return the path: a result serves where a path is expected."""
        return str(self.path)


class AgreementError(VerificationError):
    """Too few outputs of an artifact equal those of its float32 graph; `path` is the artifact, if it was kept."""

    def __init__(self, agreement: Agreement, path: Path | None = None) -> None:
        kept = f"{path} was kept (--keep-rejected)" if path else "Nothing was written"
        advice = {
            Precision.FP32: "check the weights",
            Precision.FP16: "use fp32",
            Precision.INT8: "calibrate on more images like those the model sees, use --keep-fp auto or "
            "--precision fp16",
        }[agreement.precision]
        wanted, got = f"give at least {agreement.floor:.0%} of the predictions", f"{agreement.share:.3%}"
        if agreement.feature:
            wanted = f"have a cosine similarity of {agreement.floor:g} of {agreement.feature} to that"
            got = f"{agreement.share:.5f}"
        super().__init__(
            f"{agreement.precision.value} artifact must {wanted} of its float32 graph on {agreement.images} "
            f"validation images, got {got}. {kept}; {advice}."
        )
        self.agreement = agreement
        self.path = path
