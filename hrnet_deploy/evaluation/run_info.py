"""What was measured on what: the provenance of a result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrnet_deploy.evaluation.sliding_window import Sliding
from hrnet_deploy.spec import ModelCard


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """The net that answered.

    Attributes:
        name: file name, or the architecture where there is no file.
        path: the artefact; None for a model given as an object.
        sha256: its digest in hex; "" without a file.
        size_bytes: its size; 0 without a file.
        card: what it says of itself.
        device: where it ran, such as "cpu".
        backend: what ran it, such as "onnxruntime"; "" where the model does not say.
        arithmetic: what it computed in, such as "bfloat16"; "" where the model does not say.
    """

    name: str
    path: Path | None
    sha256: str
    size_bytes: int
    card: ModelCard
    device: str
    backend: str
    arithmetic: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the card without its class names."""
        card = self.card.to_record()
        card["classes"] = len(self.card.classes)
        return {
            "name": self.name,
            "path": None if self.path is None else str(self.path),
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "device": self.device,
            "backend": self.backend,
            "arithmetic": self.arithmetic,
            "card": card,
        }


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The images it answered.

    Attributes:
        root: where they lie.
        layout: how they were found, such as "Cityscapes labelIds".
        images: how many were used.
        total: how many there are.
        digest: SHA-256 over the contents of the images used, in order, in hex.
    """

    root: Path
    layout: str
    images: int
    total: int
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "root": str(self.root),
            "layout": self.layout,
            "images": self.images,
            "total": self.total,
            "digest": self.digest,
        }


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """How the run went.

    Attributes:
        batch: images per inference asked for.
        workers: threads that read and count.
        sliding: windows, if any.
        seconds: wall time of this run.
        computed: images answered in this run.
        resumed: images taken from the journal.
    """

    batch: int
    workers: int
    sliding: Sliding | None
    seconds: float
    computed: int
    resumed: int

    @property
    def images_per_second(self) -> float:
        """Throughput of this run, all nets together; 0 where everything came from the journal."""
        return self.computed / self.seconds if self.computed else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
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
