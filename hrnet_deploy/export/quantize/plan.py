"""How INT8 is done: the options with the defaults of the output, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.calibration.tensorrt_cache import version_number
from hrnet_deploy.calibration.thresholds import METHODS
from hrnet_deploy.engines.tensorrt.builder import Typing
from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.engine.plan import EnginePlan
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.quantize.calibrate import DATA_VARIABLE, named_folder
from hrnet_deploy.qdq_plan import DEFAULT_RESIDUAL, QdqTarget, Residual
from hrnet_deploy.spec import Precision

FP16_SCALES_OPSET = 19
"""Source: ONNX operator changelog, QuantizeLinear."""


@dataclass(frozen=True, kw_only=True)
class Int8Plan:
    """How an INT8 graph is made; fields are as in `ExportOptions`, with the defaults of the output."""

    method: str = "entropy"
    cache: Path | None = None
    target: QdqTarget = QdqTarget.CPU
    residual: Residual = DEFAULT_RESIDUAL
    keep_fp: tuple[str, ...] = ()
    remainder: str = Precision.FP32.value
    per_channel: bool = True
    allow_overlap: bool = False
    sensitivity: bool = False
    trt_cache: str | None = None


def plan_int8(options: ExportOptions, engine: EnginePlan | None, opset: int | None) -> Int8Plan:
    """Decide how INT8 is done; target and remainder follow the output where the user leaves them open."""
    try:
        target = QdqTarget(options.qdq_target or (QdqTarget.CPU if engine is None else QdqTarget.TENSORRT))
    except ValueError as error:
        raise UsageError(
            f"--qdq-target must be 'cpu' or 'tensorrt', got '{options.qdq_target}'. Choose one."
        ) from error
    if engine is not None and target is QdqTarget.CPU:
        raise UsageError("an engine needs --qdq-target tensorrt, got cpu. Leave it out.")
    residual = options.residual or DEFAULT_RESIDUAL.value
    if residual not in {known.value for known in Residual}:
        raise UsageError(f"--residual must be 'int8' or 'float', got '{residual}'. Choose one.")
    if options.residual is not None and target is not QdqTarget.TENSORRT:
        raise UsageError(f"--residual needs --qdq-target tensorrt, got {target.value}. Leave it out.")
    half = engine is not None and engine.typing is Typing.STRONG
    plan = Int8Plan(
        method=options.calib_method or "entropy",
        cache=None if options.calib_cache is None else Path(options.calib_cache),
        target=target,
        residual=Residual(residual),
        keep_fp=tuple(options.keep_fp),
        remainder=options.remainder or (Precision.FP16 if half else Precision.FP32).value,
        per_channel=not options.per_tensor,
        allow_overlap=options.allow_overlap,
        sensitivity=options.sensitivity,
        trt_cache=options.trt_cache,
    )
    if options.precision == Precision.INT8.value:
        _check(plan, options, opset)
    return plan


def check_scales(plan: Int8Plan, opset: int, got: str) -> None:
    """Refuse an opset without FP16 scales where the remainder is FP16; `got` completes the error."""
    if plan.remainder == Precision.FP16.value and opset < FP16_SCALES_OPSET:
        raise UsageError(f"FP16 scales need opset {FP16_SCALES_OPSET}, got {got}.")


def _check(plan: Int8Plan, options: ExportOptions, opset: int | None) -> None:
    if plan.trt_cache is not None:
        version_number(plan.trt_cache)
    if not options.simplify:
        raise UsageError("precision int8 needs a simplified graph, got --no-simplify. Leave it out.")
    if plan.method not in {*METHODS, "auto"}:
        raise UsageError(f"--calib-method must be {', '.join(METHODS)} or auto, got '{plan.method}'. Choose one.")
    fp16 = plan.remainder == Precision.FP16.value
    if plan.remainder not in {"fp32", "fp16"} or (fp16 and plan.target is not QdqTarget.TENSORRT):
        raise UsageError(
            f"--remainder must be fp32, or fp16 with --qdq-target tensorrt, got {plan.remainder} for "
            f"{plan.target.value}. Leave it out."
        )
    if opset is not None:
        check_scales(plan, opset, f"{opset}. Leave --opset out")
    if named_folder(options.calib_data) is None:
        raise UsageError(
            "precision int8 needs images to calibrate on, got none. Give --calib-data FOLDER: some hundred images "
            f"like those the model will see (ImageNet's or Cityscapes' train, or your own), or set {DATA_VARIABLE}."
        )
