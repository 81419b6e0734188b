"""What the sections of the probe share: exported models, engines, medians, and findings as JSON lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from comparison.config import ROOT, created_once
from numpy.typing import NDArray

from hrnet_deploy import export
from hrnet_deploy.benchmark.timing import Latency, time_interleaved, warm_up
from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.engines.ort.providers import CudaTuning
from hrnet_deploy.protocols import Engine

_BATCHES = "1:4:8"


@dataclass
class Bench:
    """Where the sections work, and what they find.

    Attributes:
        folder: for exported files, which sections share.
        device: "cuda", or "cpu" for a dry run.
        out: file that findings are appended to.
        section: name of the running section.
        bad: sections that failed and checks that did not hold.
    """

    folder: Path
    device: str
    out: Path | None = None
    section: str = ""
    bad: int = 0
    began: float = field(default_factory=time.perf_counter)

    @property
    def dry(self) -> bool:
        """Whether there is no GPU."""
        return self.device == "cpu"

    def note(self, **found: Any) -> None:
        """Record a finding of this section; `holds=False` marks a check that did not hold."""
        self.bad += found.get("holds") is False or "failed" in found
        seconds = round(time.perf_counter() - self.began, 1)
        line = json.dumps({"s": seconds, "section": self.section, **found}, default=str)
        print(line, flush=True)
        if self.out is not None:
            with self.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def exported(self, name: str, **options: Any) -> Path:
        """Export a graph once."""
        return created_once(self.folder / f"{name}.onnx", lambda path: export(**options, output=path))

    def photos(self, precision: str) -> Path:
        """Export the demo's photo classifier at 64 x 64, batch 1 to 8."""
        weights, classes = ROOT / "demo" / "hrnet_w18_small_v1_photos10.safetensors", ROOT / "demo" / "photos10.txt"
        options: dict[str, Any] = {"weights": weights, "classes": classes, "imgsz": 64, "resize": "squash"}
        return self.exported(f"photos_{precision}", **options, precision=precision, batch=_BATCHES)

    def classifier(self, precision: str) -> Path:
        """Export w18 at 224 x 224 with random weights; in a dry run the photo classifier."""
        if self.dry:
            return self.photos(precision)
        options: dict[str, Any] = {"model": "hrnet_w18", "weights": "random", "imgsz": 224}
        return self.exported(f"w18_{precision}", **options, precision=precision, batch=_BATCHES)

    def engine(self, path: Path, **tuning: Any) -> OrtEngine:
        """Open the package's engine with that tuning."""
        return OrtEngine(path, device=self.device, tuning=CudaTuning(**tuning))

    def median_ms(self, call: Callable[[], object]) -> float:
        """Return the median time of a call."""
        seconds = 0.0 if self.dry else 0.5
        (times,) = time_interleaved([call], seconds=seconds, warm_ups=[warm_up(call, limit_s=seconds)])
        return round(Latency.of(times).median_ms, 4)

    def run_ms(self, engine: Engine, *batches: int) -> float:
        """Return the median time of runs on noise, one run for each batch."""
        feeds = [{"input": noise(engine.inputs[0].shape, batch)} for batch in batches]
        return self.median_ms(lambda: [engine.run(feed) for feed in feeds])

    def used_mib(self) -> int:
        """Return the memory in use on the whole GPU; 0 in a dry run."""
        if self.dry:
            return 0
        from hrnet_deploy.engines.cuda.provider import open_cuda

        free, total = open_cuda("cuda-python").memory_info(0)
        return (total - free) >> 20

    def agrees(self, name: str, engine: Engine, path: Path, batches: Sequence[int], limit: float) -> None:
        """Check an engine's logits on noise against those of the CPU, relative to the largest logit."""
        reference = OrtEngine(path, device="cpu")
        worst = 0.0
        for seed, batch in enumerate(batches):
            feed = {"input": noise(reference.inputs[0].shape, batch, seed)}
            found, wanted = (one.run(feed)["logits"].astype(np.float64) for one in (engine, reference))
            worst = max(worst, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
        self.note(check=f"{name} agrees with the CPU", holds=worst <= limit, worst=worst, limit=limit)
        reference.close()


def noise(shape: Sequence[int | str], batch: int, seed: int = 0) -> NDArray[np.float32]:
    """Return normal noise of a model's input shape with that batch."""
    sizes = [batch, *(size for size in shape[1:] if isinstance(size, int))]
    return np.random.default_rng(seed).normal(size=sizes).astype(np.float32)
