"""The least share of answers that a cheaper artifact must keep on its own validation images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.errors import VerificationError
from hrnet_deploy.spec import Precision, Task

FLOOR = 0.9
"""Share of answers of the float32 graph, labels or pixels, that FP16 and INT8 must keep.

Trained nets keep 96 to 99.9 % with any calibration that saw images of their kind (benchmarks/results/calibration.md);
calibrated on black images, the demo's two nets kept 0, 61, 73 and 83 %.
"""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What validation images say of an artifact.

    Attributes:
        precision: of the artifact.
        share: answers equal to those of the float32 graph, 0..1.
        images: how many were compared.
        floor: the least share that is accepted.
    """

    precision: Precision
    share: float
    images: int
    floor: float

    @property
    def passed(self) -> bool:
        """Whether enough answers are kept; one that is no number is none."""
        return self.share >= self.floor

    def __str__(self) -> str:
        """As "98.438% of answers equal (at least 90% asked for)"."""
        return f"{self.share:.3%} of answers equal (floor {self.floor:.0%})"


def floor_for(task: Task, images: int) -> float:
    """The floor on so many images.

    Args:
        task: a label is the only answer of a classified image, a segmented one has many pixels.
        images: compared, at least 1.

    Returns:
        `FLOOR`; of fewer than ten labels a single one may differ, unless there is no other.
    """
    if task is Task.SEGMENTATION or images >= 10:
        return FLOOR
    return 1.0 if images == 1 else (images - 1) / images


class AgreementError(VerificationError):
    """An artifact keeps too few answers on its own validation images.

    Attributes:
        agreement: what was measured.
        path: the artifact, where it was to be kept; else None.
    """

    def __init__(self, agreement: Agreement, path: Path | None = None) -> None:
        """Say it in one line.

        Args:
            agreement: below its floor.
            path: the artifact, if it was kept.
        """
        kept = f"{path} was kept (--keep-rejected)" if path else "Nothing was written"
        advice = {
            Precision.FP32: "check the weights",
            Precision.FP16: "use fp32",
            Precision.INT8: "calibrate on more images like those the net sees, use --keep-fp auto or --precision fp16",
        }[agreement.precision]
        super().__init__(
            f"{agreement.precision.value} artefact must give at least {agreement.floor:.0%} of the answers of its "
            f"float32 graph on {agreement.images} validation images, got {agreement.share:.3%}. {kept}; {advice}."
        )
        self.agreement = agreement
        self.path = path
