"""Shared parts of the probe's sections: exported models, sessions with changed options, and medians."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy import export
from hrnet_deploy.benchmark.timing import Latency, time_interleaved, warm_up
from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.engines.ort.io_binding import BoundSession
from hrnet_deploy.engines.ort.libraries import preload_libraries
from hrnet_deploy.engines.ort.providers import CPU, CUDA, CudaTuning, cuda_options
from hrnet_deploy.engines.ort.session import open_session, session_options
from hrnet_deploy.protocols import Engine
from hrnet_deploy.spec import Precision

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Bench:
    """Where a section works.

    Attributes:
        folder: for exported files, which sections share.
        device: "cuda", or "cpu" for a dry run.
        notes: records a finding.
    """

    section: str
    folder: Path
    device: str
    notes: Callable[..., None]

    @property
    def dry(self) -> bool:
        """Whether there is no GPU."""
        return self.device == "cpu"

    def note(self, **found: Any) -> None:
        """Record a finding of this section."""
        self.notes(self.section, **found)

    def exported(self, name: str, **options: Any) -> Path:
        """Export a graph once."""
        path = self.folder / f"{name}.onnx"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            export(**options, output=path)
        return path

    def photos(self, precision: str) -> Path:
        """Export the demo's photo classifier at 64 x 64, batch 1 to 8."""
        return self.exported(
            f"photos_{precision}",
            weights=ROOT / "demo" / "hrnet_w18_small_v1_photos10.safetensors",
            imgsz=64,
            resize="squash",
            classes=ROOT / "demo" / "photos10.txt",
            precision=precision,
            batch="1:4:8",
        )

    def classifier(self, precision: str) -> Path:
        """Export w18 at 224 x 224 with random weights; in a dry run the photo classifier."""
        if self.dry:
            return self.photos(precision)
        return self.exported(
            f"w18_{precision}", model="hrnet_w18", weights="random", imgsz=224, precision=precision, batch="1:4:8"
        )

    def engine(self, path: Path, **tuning: Any) -> OrtEngine:
        """Open the package's engine with that tuning."""
        return OrtEngine(path, device=self.device, tuning=CudaTuning(**tuning))

    def session(self, path: Path, precision: Precision, changes: Mapping[str, str], *, graph: bool) -> BoundSession:
        """Open a session with changed options of the CUDA provider that the package has no field for."""
        providers: list[Any] = [CPU]
        if not self.dry:
            preload_libraries()
            options = cuda_options(CudaTuning(), device=0, precision=precision, open_sizes=False, graph=graph)
            providers = [(CUDA, options | dict(changes)), CPU]
        opened = open_session(path, path.name, session_options(quiet=True), providers)
        return BoundSession(opened, device_type=self.device, device=0, graphs=graph)

    def median_ms(self, call: Callable[[], object]) -> float:
        """Return the median time of a call."""
        seconds = 0.0 if self.dry else 0.5
        (times,) = time_interleaved([call], seconds=seconds, warm_ups=[warm_up(call, limit_s=seconds)])
        return round(Latency.of(times).median_ms, 4)

    def used_mib(self) -> int:
        """Return the memory in use on the whole GPU; 0 in a dry run."""
        if self.dry:
            return 0
        from hrnet_deploy.engines.cuda.provider import open_cuda

        free, total = open_cuda("cuda-python").memory_info(0)
        return (total - free) >> 20


def noise(shape: tuple[int | str, ...], batch: int, seed: int = 0) -> NDArray[np.float32]:
    """Return normal noise of a model's input shape with that batch."""
    sizes = [batch, *(size for size in shape[1:] if isinstance(size, int))]
    return np.random.default_rng(seed).normal(size=sizes).astype(np.float32)


def max_difference(engine: Engine, reference: Engine, batches: Sequence[int]) -> float:
    """Return the largest difference of the logits on noise, relative to the largest logit."""
    differences = []
    for seed, batch in enumerate(batches):
        feed = {"input": noise(reference.inputs[0].shape, batch, seed)}
        found, wanted = (one.run(feed)["logits"].astype(np.float64) for one in (engine, reference))
        differences.append(float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    return max(differences)
