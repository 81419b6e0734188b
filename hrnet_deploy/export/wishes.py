"""What a user asks for, as it was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hrnet_deploy.export.engine.plan import EngineWishes
from hrnet_deploy.export.gate.accuracy_target import AccuracyWishes
from hrnet_deploy.export.shapes import HeightWidth
from hrnet_deploy.qdq_plan import DEFAULT_RESIDUAL, QdqTarget, Residual
from hrnet_deploy.spec import Precision


@dataclass(frozen=True, kw_only=True)
class Int8Wishes:
    """How INT8 shall be made; `export_artifact` says what each field means."""

    data: str | Path | None = None
    images: int = 512
    method: str = "entropy"
    cache: str | Path | None = None
    target: QdqTarget = QdqTarget.CPU
    residual: Residual = DEFAULT_RESIDUAL
    keep_fp: tuple[str, ...] = ()
    remainder: str = "fp32"
    per_channel: bool = True
    allow_val: bool = False
    evaluation: str | Path | None = None
    allow_overlap: bool = False
    sensitivity: bool = False
    trt_cache: str | None = None


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asked for; `export_artifact` says what each field means."""

    precision: str = Precision.FP32.value
    output: str | Path | None = None
    imgsz: str | int | HeightWidth | None = None
    batch: str | int | None = None
    opset: int | None = None
    simplify: bool = True
    pixels_in: bool | str = False
    labels_out: bool | str = False
    classes: str | Path | Sequence[str] | None = None
    preprocessing: str | Path | None = None
    threshold: float | None = None
    resize: str | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    int8: Int8Wishes = Int8Wishes()
    qdq_target: str | None = None
    residual: str | None = None
    remainder: str | None = None
    format: str | None = None
    engine: EngineWishes = field(default_factory=EngineWishes)
    budget: AccuracyWishes = field(default_factory=AccuracyWishes)
