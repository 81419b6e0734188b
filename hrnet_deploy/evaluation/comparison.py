"""The result of a comparison: drops with intervals, agreement, classes, and the images that changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.evaluation.evaluate import Evaluation
from hrnet_deploy.evaluation.metrics.classification import Ranking


@dataclass(frozen=True)
class Drop:
    """The difference of a metric, such as "top-1", between the reference and a candidate.

    Attributes:
        points: reference - candidate in percentage points; negative if the candidate is better.
        low: lower end of the paired 95 % bootstrap interval, in points; None for fewer than two images.
    """

    name: str
    points: float
    low: float | None
    high: float | None

    @property
    def certain(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self) | {"certain": self.certain}


@dataclass(frozen=True)
class ClassDelta:
    """One class in both models.

    Attributes:
        support: labeled images (classification) or pixels (segmentation).
        reference: the reference's top-1 or IoU, 0..1; None if undefined.
    """

    index: int
    name: str
    support: int
    reference: float | None
    candidate: float | None

    @property
    def points(self) -> float | None:
        """Drop in percentage points; None if one of the values is undefined."""
        if self.reference is None or self.candidate is None:
            return None
        return 100 * (self.reference - self.candidate)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self) | {"points": self.points}


@dataclass(frozen=True)
class LabelChange:
    """An image whose best class differs between the candidate and the reference."""

    name: str
    path: Path
    label: int
    reference: Ranking
    candidate: Ranking

    @property
    def kind(self) -> str:
        """Either "lost" (only the reference is correct), "gained" (only the candidate is) or "other"."""
        if self.reference.top[0] == self.label:
            return "lost"
        return "gained" if self.candidate.top[0] == self.label else "other"

    @property
    def rank(self) -> tuple[int, float]:
        """Sort key, worst first: lost, other, gained, each by the reference's probability."""
        return ("lost", "other", "gained").index(self.kind), -self.reference.scores[0]

    def to_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Return plain values, ready for JSON, with class names from `classes`."""
        values: dict[str, Any] = {"name": self.name, "kind": self.kind, "label": classes[self.label]}
        for name, ranking in (("reference", self.reference), ("candidate", self.candidate)):
            values |= {name: classes[ranking.top[0]], f"{name}_score": ranking.scores[0]}
        return values


@dataclass(frozen=True)
class ChangedImage:
    """An image whose mask differs between the candidate and the reference.

    Attributes:
        changed: share of all pixels whose class differs, 0..1.
        lost: share of labeled pixels that only the reference predicts correctly, 0..1.
        gained: share of labeled pixels that only the candidate predicts correctly, 0..1.
        reference_miou: the reference's mean IoU over the classes labeled in the image, 0..1.
        transitions: the largest (reference's class index, candidate's, pixels), most pixels first.
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
        """Sort key, worst first: by the balance of lost pixels, then by changed pixels."""
        return self.gained - self.lost, -self.changed

    def to_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Return plain values, ready for JSON, with class names from `classes`."""
        names = ("name", "changed", "lost", "gained", "reference_miou", "candidate_miou")
        moves = [{"from": classes[a], "to": classes[b], "pixels": pixels} for a, b, pixels in self.transitions]
        return {name: getattr(self, name) for name in names} | {"moves": moves}


@dataclass(frozen=True, eq=False, kw_only=True)
class CandidateComparison:
    """One candidate against the reference.

    Attributes:
        drops: top-1 and top-5, or mIoU and pixel accuracy; the first is the main one.
        agreement: share of equal predictions, 0..1: best classes of images, or all pixels, labeled or not.
        lost: share of images, or of labeled pixels, that only the reference predicts correctly, 0..1.
        gained: share that only the candidate predicts correctly, 0..1.
        images: all images that changed, the worst first.
        transitions: segmentation: pixels, int64 (classes, classes): the reference's class, the candidate's; else None.
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
        """The main drop."""
        return self.drops[0]

    def to_dict(self, *, images: int | None = None) -> dict[str, Any]:
        """Return plain values, ready for JSON; at most `images` of the changed images, the worst first."""
        names = self.evaluation.classes
        return {
            "evaluation": self.evaluation.to_dict(images=False),
            "drops": [drop.to_dict() for drop in self.drops],
            **{name: getattr(self, name) for name in ("agreement", "lost", "gained")},
            "classes": [delta.to_dict() for delta in self.classes],
            "changed_images": len(self.images),
            "images": [image.to_dict(names) for image in self.images[:images]],
            "moves": None if self.transitions is None else self.transitions.tolist(),
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Candidates against a reference, on the same images in the same run."""

    reference: Evaluation
    candidates: tuple[CandidateComparison, ...]
    resamples: int
    seed: int

    def to_dict(self, *, images: int | None = None) -> dict[str, Any]:
        """Return plain values, ready for JSON; `images` limits the changed images of each candidate."""
        return {
            "metric": self.reference.metrics.name,
            "reference": self.reference.to_dict(images=False),
            "candidates": [candidate.to_dict(images=images) for candidate in self.candidates],
            "interval": {"level": 0.95, "resamples": self.resamples, "seed": self.seed},
        }
