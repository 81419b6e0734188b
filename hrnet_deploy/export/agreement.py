"""Minimum share of outputs that an FP16 or INT8 artifact must keep on validation images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.errors import VerificationError
from hrnet_deploy.spec import Precision, Task

FLOOR = 0.9
"""Share of the float32 graph's outputs, labels or pixels, that FP16 and INT8 must keep.

Trained models keep 96 to 99.9 % with any calibration on images of their kind (benchmarks/results/calibration.md).
Calibrated on black images, the demo's two models kept 0, 61, 73 and 83 %.
"""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Share of outputs of an artifact that equal those of its float32 graph on validation images, and its floor."""

    precision: Precision
    share: float
    images: int
    floor: float

    @property
    def passed(self) -> bool:
        """Whether enough outputs are equal; a share of NaN never is."""
        return self.share >= self.floor

    def __str__(self) -> str:
        """For example "98.438% of predictions equal (floor 90%)"."""
        return f"{self.share:.3%} of predictions equal (floor {self.floor:.0%})"


def floor_for(task: Task, images: int) -> float:
    """Choose the floor: `FLOOR`, but of two to nine labels one may differ, and a single one must be equal."""
    if task is Task.SEGMENTATION or images >= 10:
        return FLOOR
    return 1.0 if images == 1 else (images - 1) / images


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
        super().__init__(
            f"{agreement.precision.value} artifact must give at least {agreement.floor:.0%} of the predictions of its "
            f"float32 graph on {agreement.images} validation images, got {agreement.share:.3%}. {kept}; {advice}."
        )
        self.agreement = agreement
        self.path = path
