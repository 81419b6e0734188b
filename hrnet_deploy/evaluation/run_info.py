"""The provenance of a result: which model, images and settings were measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hrnet_deploy.evaluation.sliding_window import SlidingWindow
from hrnet_deploy.spec import ModelCard


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """The model that was evaluated.

    Attributes:
        name: file name, URL, or the architecture of a model passed as an object.
        path: the artifact; None for a model on a server and for an object.
        sha256: its digest in hex, which a server reports; "" if unknown.
        size_bytes: its size; 0 without a file.
        arithmetic: data type of its computations, such as "bfloat16"; "" if unknown.
    """

    name: str
    path: Path | None
    sha256: str
    size_bytes: int
    device: str
    backend: str
    arithmetic: str = ""
    card: ModelCard

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; the card has the number of classes instead of their names."""
        card = self.card.to_record() | {"classes": len(self.card.classes)}
        return vars(self) | {"path": None if self.path is None else str(self.path), "card": card}


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """The images of an evaluation.

    Attributes:
        layout: the layout that was recognized, such as "Cityscapes labelIds".
        digest: SHA-256 over the contents of the images used, in order, in hex.
    """

    root: Path
    layout: str
    images: int
    total: int
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self) | {"root": str(self.root)}


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The settings and the duration of a run.

    Attributes:
        computed: images evaluated in this run.
        resumed: images read from the journal.
    """

    batch: int
    workers: int
    sliding: SlidingWindow | None
    seconds: float
    computed: int
    resumed: int

    @property
    def images_per_second(self) -> float:
        """Throughput of this run, all models together; 0 if the journal held every image."""
        return self.computed / self.seconds if self.computed else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "batch": self.batch,
            "workers": self.workers,
            "window_hw": None if self.sliding is None else list(self.sliding.window_hw),
            "stride_hw": None if self.sliding is None else list(self.sliding.stride_hw),
            "seconds": round(self.seconds, 3),
            "computed": self.computed,
            "resumed": self.resumed,
            "images_per_second": round(self.images_per_second, 3),
        }
