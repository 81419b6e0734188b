"""What a comparison says: drops with intervals, agreement, classes, and the images that changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.evaluation.evaluate import Evaluation
from hrnet_deploy.evaluation.metrics.classification import Ranking


@dataclass(frozen=True)
class Drop:
    """How much lower a figure is than the reference's.

    Attributes:
        name: the figure, such as "top-1" or "mIoU".
        points: reference - candidate in percentage points; negative where the candidate is better.
        low: lower end of the paired 95 % bootstrap interval, in points; None below two images.
        high: upper end.
    """

    name: str
    points: float
    low: float | None
    high: float | None

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"name": self.name, "points": self.points, "low": self.low, "high": self.high, "certain": self.certain}


@dataclass(frozen=True)
class ClassDelta:
    """One class in both nets.

    Attributes:
        index: of the class.
        name: of the class.
        support: labelled images (classification) or pixels (segmentation).
        reference: the reference's top-1 or IoU, 0..1; None where it has none.
        candidate: the candidate's.
    """

    index: int
    name: str
    support: int
    reference: float | None
    candidate: float | None

    @property
    def points(self) -> float | None:
        """Drop in percentage points; None where one of them has no value."""
        if self.reference is None or self.candidate is None:
            return None
        return 100 * (self.reference - self.candidate)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "index": self.index,
            "name": self.name,
            "support": self.support,
            "reference": self.reference,
            "candidate": self.candidate,
            "points": self.points,
        }


@dataclass(frozen=True)
class LabelChange:
    """An image the candidate classifies otherwise than the reference.

    Attributes:
        name: path below the data set's root.
        path: the file.
        label: index of the right class.
        reference: the reference's answer.
        candidate: the candidate's answer.
    """

    name: str
    path: Path
    label: int
    reference: Ranking
    candidate: Ranking

    @property
    def kind(self) -> str:
        """Either "lost" (only the reference is right), "gained" (only the candidate is) or "other"."""
        if self.reference.top[0] == self.label:
            return "lost"
        return "gained" if self.candidate.top[0] == self.label else "other"

    @property
    def rank(self) -> tuple[int, float]:
        """Sorts the worst first: lost before other before gained, each by how sure the reference was."""
        return ("lost", "other", "gained").index(self.kind), -self.reference.scores[0]

    def to_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Plain values, ready for JSON.

        Args:
            classes: class names by index.
        """
        return {
            "name": self.name,
            "kind": self.kind,
            "label": classes[self.label],
            "reference": classes[self.reference.top[0]],
            "reference_score": self.reference.scores[0],
            "candidate": classes[self.candidate.top[0]],
            "candidate_score": self.candidate.scores[0],
        }


@dataclass(frozen=True)
class ChangedImage:
    """An image the candidate segments otherwise than the reference.

    Attributes:
        name: path below the data set's root.
        path: the file.
        label_path: its label image.
        changed: share of all pixels answered otherwise, 0..1.
        lost: share of judged pixels that only the reference has right, 0..1.
        gained: share of judged pixels that only the candidate has right, 0..1.
        reference_miou: the reference's mean IoU over the classes labelled in it, 0..1.
        candidate_miou: the candidate's.
        transitions: the largest changes: (reference's class index, candidate's, pixels), most pixels first.
    """

    name: str
    path: Path
    label_path: Path
    changed: float
    lost: float
    gained: float
    reference_miou: float
    candidate_miou: float
    transitions: tuple[tuple[int, int, int], ...]

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts the worst first: by pixels lost on balance, then by pixels changed."""
        return self.gained - self.lost, -self.changed

    def to_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Plain values, ready for JSON.

        Args:
            classes: class names by index.
        """
        return {
            "name": self.name,
            "changed": self.changed,
            "lost": self.lost,
            "gained": self.gained,
            "reference_miou": self.reference_miou,
            "candidate_miou": self.candidate_miou,
            "moves": [{"from": classes[a], "to": classes[b], "pixels": pixels} for a, b, pixels in self.transitions],
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class CandidateComparison:
    """One candidate against the reference.

    Attributes:
        evaluation: the candidate on its own.
        drops: top-1 and top-5, or mIoU and pixel accuracy; the first is the one to judge by.
        agreement: share of equal answers, 0..1: best classes of images, or all pixels, judged or not.
        lost: share of images, or of judged pixels, that only the reference has right, 0..1.
        gained: share that only the candidate has right, 0..1.
        classes: every class in both.
        images: all images that changed, the worst first.
        transitions: segmentation: pixels, int64 (classes, classes): the reference's answer, the candidate's; else None.
    """

    evaluation: Evaluation
    drops: tuple[Drop, ...]
    agreement: float
    lost: float
    gained: float
    classes: tuple[ClassDelta, ...]
    images: tuple[LabelChange | ChangedImage, ...]
    transitions: NDArray[np.int64] | None

    @property
    def drop(self) -> Drop:
        """The drop to judge by."""
        return self.drops[0]

    def to_dict(self, *, images: int | None = None) -> dict[str, Any]:
        """Plain values, ready for JSON.

        Args:
            images: how many of the changed images, the worst first; None for all.
        """
        names = self.evaluation.classes
        return {
            "evaluation": self.evaluation.to_dict(images=False),
            "drops": [drop.to_dict() for drop in self.drops],
            "agreement": self.agreement,
            "lost": self.lost,
            "gained": self.gained,
            "classes": [delta.to_dict() for delta in self.classes],
            "changed_images": len(self.images),
            "images": [image.to_dict(names) for image in self.images[:images]],
            "moves": None if self.transitions is None else self.transitions.tolist(),
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Candidates against a reference, on the same images in the same run.

    Attributes:
        reference: the reference on its own.
        candidates: each candidate, in the order given.
        resamples: resampled sets behind each interval.
        seed: of the resampling.
    """

    reference: Evaluation
    candidates: tuple[CandidateComparison, ...]
    resamples: int
    seed: int

    def to_dict(self, *, images: int | None = None) -> dict[str, Any]:
        """Plain values, ready for JSON.

        Args:
            images: how many of the changed images of each candidate, the worst first; None for all.
        """
        return {
            "metric": self.reference.metrics.name,
            "reference": self.reference.to_dict(images=False),
            "candidates": [candidate.to_dict(images=images) for candidate in self.candidates],
            "interval": {"level": 0.95, "resamples": self.resamples, "seed": self.seed},
        }
