"""What exactly shall be made: every wish checked against the net before any work is done."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hrnet_deploy.engines.tensorrt.builder import Typing
from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.applies import check_resolved
from hrnet_deploy.export.engine.plan import EnginePlan, plan_engine
from hrnet_deploy.export.gate.accuracy_target import AccuracyTarget, make_budget
from hrnet_deploy.export.graph_io import (
    answer_given,
    classes_named,
    pixels_taken,
    preprocessing_before,
    shapes_taken,
    threshold_set,
)
from hrnet_deploy.export.info import ModelInfo
from hrnet_deploy.export.quantize.calibrate import CalibrationSplit, data_folder, named_folder, select_images
from hrnet_deploy.export.shapes import shape_range
from hrnet_deploy.export.wishes import Int8Wishes, Wishes
from hrnet_deploy.imaging.class_names import read_classes
from hrnet_deploy.qdq_plan import DEFAULT_RESIDUAL, QdqTarget, Residual
from hrnet_deploy.spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ChannelOrder,
    OutputKind,
    Precision,
    Preprocessing,
    ShapeRange,
    check_threshold,
)

if TYPE_CHECKING:
    from hrnet_deploy.calibration.image_selection import CalibrationImage

_FP16_SCALES_OPSET = 19
"""Source: ONNX operator changelog, QuantizeLinear."""
_WEAK_OPSET = 17
"""Source: onnx-tensorrt 8.6, operators.md; NVIDIA/TensorRT issue 4797 for calibration of newer ones."""
ENGINE_SUFFIX = ".engine"
_FORMATS = {"onnx": ".onnx", "engine": ENGINE_SUFFIX}


@dataclass(frozen=True, kw_only=True)
class Early:
    """What is decided before any weights are read.

    Attributes:
        precision: of the artefact.
        int8: how INT8 shall be made, with the defaults of the output filled in.
        opset: to write; None for the newest all runtimes read, or a foreign file's own.
        engine: how the engine is built; None for an .onnx file.
        images: calibration images, and others set aside; None where no folder is named or none is needed.
        evaluation: the user's other images, which judge the result; None for those set aside.
    """

    precision: Precision
    int8: Int8Wishes
    opset: int | None
    engine: EnginePlan | None
    images: CalibrationSplit | None = None
    evaluation: tuple[CalibrationImage, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be made.

    Attributes:
        path: the file to write.
        precision: of the graph.
        shapes: batch, height and width it takes.
        preprocessing: from image to float network input.
        pixels: channel order of a uint8 input; None for a float one.
        output_kind: what the graph answers with.
        align_corners: how segmentation logits are upsampled.
        classes: class names.
        threshold: of a net with one channel, the probability above which the second class is meant; else None.
        palette: class colours, RGB, where they are known.
        opset: to write; None for the newest all runtimes read, or a foreign file's own.
        simplify: whether to.
        int8: how INT8 shall be made.
        engine: how the engine is built; None for an .onnx file.
        budget: what accuracy may be lost, and on which images; None for no gate.
        images: calibration images, and others set aside; None where no folder is named or none is needed.
        evaluation: the user's other images, which judge the result; None for those set aside.
        keep_rejected: write the artefact even if it keeps too few answers.
    """

    path: Path
    precision: Precision
    shapes: ShapeRange
    preprocessing: Preprocessing
    pixels: ChannelOrder | None
    output_kind: OutputKind
    align_corners: bool
    classes: tuple[str, ...]
    threshold: float | None
    palette: tuple[tuple[int, int, int], ...] | None
    opset: int | None
    simplify: bool
    int8: Int8Wishes
    engine: EnginePlan | None
    budget: AccuracyTarget | None = None
    images: CalibrationSplit | None = None
    evaluation: tuple[CalibrationImage, ...] | None = None
    keep_rejected: bool = False

    @property
    def shown(self) -> tuple[CalibrationImage, ...]:
        """The user's images that an engine may be tried on, those that judge first."""
        if self.evaluation is not None:
            return self.evaluation
        return () if self.images is None else self.images.validation + self.images.calibration


def check_early(wishes: Wishes) -> Early:
    """Refuse what no net, or no TensorRT here, could fulfil, before weights are fetched or read.

    Args:
        wishes: from the user.

    Returns:
        What could be decided.

    Raises:
        UsageError: an unknown precision, file format or mode, or what the GPU cannot run.
        MissingDependencyError: an engine is wanted and there is no TensorRT.
        DeviceError: this TensorRT needs a GPU to build.
    """
    precision = precision_of(wishes.precision)
    pixels_taken(wishes.pixels_in)
    _colors(wishes)
    engine = _engine(wishes, precision) if wants_engine(wishes) else None
    if wishes.output is not None and Path(wishes.output).is_dir():
        raise UsageError(f"output must be a file, got the folder {wishes.output}. Add a file name.")
    if wishes.labels_out not in {False, True, "topk", "softmax"}:
        raise UsageError(f"labels-out must be 'topk' or 'softmax', got '{wishes.labels_out}'. Choose one.")
    shape_range(wishes.imgsz, wishes.batch, (224, 224))
    if wishes.threshold is not None:
        check_threshold(wishes.threshold)
    opset = _opset(wishes.opset, engine)
    int8 = _rendered_for(wishes, engine)
    if precision is Precision.INT8:
        _check_int8(int8, opset, simplify=wishes.simplify)
    if isinstance(wishes.classes, str | Path):
        read_classes(wishes.classes)
    images, evaluation = _images(int8, precision, engine)
    return Early(precision=precision, int8=int8, opset=opset, engine=engine, images=images, evaluation=evaluation)


def wants_engine(wishes: Wishes) -> bool:
    """Whether the output's name or --format asks for a TensorRT engine.

    Args:
        wishes: from the user.

    Returns:
        False for an .onnx file.

    Raises:
        UsageError: an unknown format or suffix, or two that differ.
    """
    if wishes.format not in {None, *_FORMATS}:
        raise UsageError(f"--format must be {' or '.join(_FORMATS)}, got '{wishes.format}'. Choose one.")
    suffix = None if wishes.output is None else Path(wishes.output).suffix
    if suffix not in {None, *_FORMATS.values()} or (wishes.format and suffix not in {None, _FORMATS[wishes.format]}):
        wanted = _FORMATS[wishes.format] if wishes.format else " or ".join(_FORMATS.values())
        raise UsageError(f"output must end in {wanted}, got '{wishes.output}'. Rename it.")
    return ENGINE_SUFFIX in {suffix, _FORMATS.get(wishes.format or "")}


def make_plan(wishes: Wishes, early: Early, facts: ModelInfo) -> Plan:
    """Fit the wishes to the net.

    Args:
        wishes: from the user.
        early: what was decided before.
        facts: of the net.

    Returns:
        The plan.

    Raises:
        UsageError: a wish this net cannot fulfil, or labels that do not suit it.
        MissingFileError: no such class file, or no such folder of labelled images.
        ImageError: that folder holds no images.
    """
    shapes = shapes_taken(wishes, facts)
    preprocessing = preprocessing_before(wishes, facts, shapes)
    check_resolved(wishes, facts, preprocessing)
    if facts.opset is not None and early.opset is None and early.precision is Precision.INT8:
        _check_scales(early.int8, facts.opset, f"the graph's own {facts.opset}. Give --opset {_FP16_SCALES_OPSET}")
    classes = classes_named(wishes.classes, facts)
    suffix = ".onnx" if early.engine is None else ENGINE_SUFFIX
    return Plan(
        path=Path(wishes.output or f"{facts.variant}_{early.precision.value}{suffix}"),
        precision=early.precision,
        shapes=shapes,
        preprocessing=preprocessing,
        pixels=pixels_taken(wishes.pixels_in),
        output_kind=answer_given(wishes.labels_out, facts),
        align_corners=facts.align_corners,
        classes=classes,
        threshold=threshold_set(wishes.threshold, facts, classes),
        palette=facts.palette,
        opset=early.opset,
        simplify=wishes.simplify,
        int8=early.int8,
        engine=early.engine,
        budget=make_budget(wishes.budget, facts, classes, preprocessing, shapes),
        images=early.images,
        evaluation=early.evaluation,
        keep_rejected=wishes.budget.keep_rejected,
    )


def _engine(wishes: Wishes, precision: Precision) -> EnginePlan:
    """Within a budget, only one that takes each block's precision from the graph; else as the user wants it."""
    if wishes.budget.waterfall:
        raise UsageError("--waterfall ends at an .onnx file, got an engine. Give both to hrnet-report --waterfall.")
    # What a calibrator cannot be told; a Q/DQ graph holds it.
    needing = {
        "--max-drop": wishes.budget.max_drop is not None,
        "--residual": wishes.residual is not None,
        "--per-tensor": not wishes.int8.per_channel,
        "--remainder fp16": wishes.remainder == Precision.FP16.value,
    }
    flag = next((flag for flag, given in needing.items() if given), None)
    if flag is not None and wishes.engine.int8_path == "implicit":
        raise UsageError(f"{flag} needs --int8-path qdq, got implicit. Leave it out.")
    path = wishes.engine.int8_path if flag is None else "qdq"
    engine = plan_engine(dataclasses.replace(wishes.engine, int8_path=path), precision)
    if wishes.remainder == Precision.FP16.value and engine.typing is Typing.WEAK:
        raise UsageError(
            f"--remainder fp16 needs a TensorRT that takes FP16 from the graph (10 or newer), got "
            f"{engine.api.version}. Leave it out."
        )
    if wishes.budget.max_drop is None:
        return engine
    if precision is Precision.FP16 and engine.flags_set_precision:
        raise UsageError(
            f"--max-drop needs a TensorRT that takes FP16 from the graph (10 or newer), got {engine.api.version}. "
            "Leave it out, and measure the engine with hrnet-report."
        )
    return engine


def _opset(wish: int | None, engine: EnginePlan | None) -> int | None:
    """Builder flags and calibrators belong to parsers that read opset 17 at most."""
    if engine is None or engine.typing is not Typing.WEAK:
        return wish
    if wish is not None and wish > _WEAK_OPSET:
        raise UsageError(
            f"TensorRT {engine.api.version} with builder flags reads opset {_WEAK_OPSET} at most, got {wish}. "
            "Leave --opset out."
        )
    return wish or _WEAK_OPSET


def _rendered_for(wishes: Wishes, engine: EnginePlan | None) -> Int8Wishes:
    """Q/DQ target and remainder follow the output where the user leaves them open."""
    default = QdqTarget.CPU if engine is None else QdqTarget.TENSORRT
    try:
        target = QdqTarget(wishes.qdq_target or default)
    except ValueError as error:
        raise UsageError(f"--qdq-target must be 'cpu' or 'tensorrt', got '{wishes.qdq_target}'. Choose one.") from error
    if engine is not None and target is QdqTarget.CPU:
        raise UsageError("an engine needs --qdq-target tensorrt, got cpu. Leave it out.")
    half = engine is not None and engine.typing is Typing.STRONG
    remainder = wishes.remainder or (Precision.FP16 if half else Precision.FP32).value
    residual = DEFAULT_RESIDUAL if wishes.residual is None else _residual(wishes, target)
    return dataclasses.replace(wishes.int8, target=target, residual=residual, remainder=remainder)


def _residual(wishes: Wishes, target: QdqTarget) -> Residual:
    if wishes.residual not in {residual.value for residual in Residual}:
        raise UsageError(f"--residual must be 'int8' or 'float', got '{wishes.residual}'. Choose one.")
    if wishes.precision != Precision.INT8.value:
        raise UsageError(f"--residual is a layout of int8, got --precision {wishes.precision}. Leave it out.")
    if target is not QdqTarget.TENSORRT:
        raise UsageError(f"--residual needs --qdq-target tensorrt, got {target.value}. Leave it out.")
    return Residual(wishes.residual)


def _check_int8(int8: Int8Wishes, opset: int | None, *, simplify: bool) -> None:
    from hrnet_deploy.calibration.tensorrt_cache import version_number
    from hrnet_deploy.calibration.thresholds import METHODS

    if int8.cache is not None and Path(int8.cache).is_dir():
        raise UsageError(f"--calib-cache must be a file, got the folder {int8.cache}. Add a file name.")
    if int8.trt_cache is not None:
        version_number(int8.trt_cache)
    if not simplify:
        raise UsageError("precision int8 needs a simplified graph, got --no-simplify. Leave it out.")
    if int8.method not in {*METHODS, "auto"}:
        raise UsageError(f"--calib-method must be {', '.join(METHODS)} or auto, got '{int8.method}'. Choose one.")
    if int8.remainder not in {"fp32", "fp16"} or (int8.remainder == "fp16" and int8.target is not QdqTarget.TENSORRT):
        raise UsageError(
            f"--remainder must be fp32, or fp16 with --qdq-target tensorrt, got {int8.remainder} for "
            f"{int8.target.value}. Leave it out."
        )
    if opset is not None:
        _check_scales(int8, opset, f"{opset}. Leave --opset out")
    data_folder(int8.data)


def _check_scales(int8: Int8Wishes, opset: int, got: str) -> None:
    if int8.remainder == Precision.FP16.value and opset < _FP16_SCALES_OPSET:
        raise UsageError(f"FP16 scales need opset {_FP16_SCALES_OPSET}, got {got}.")


def _images(
    int8: Int8Wishes, precision: Precision, engine: EnginePlan | None
) -> tuple[CalibrationSplit | None, tuple[CalibrationImage, ...] | None]:
    """The folders' only walk: images to calibrate on and to set aside, and those of the user that judge."""
    from hrnet_deploy.calibration.image_folder import find_images

    if precision is Precision.FP32 and engine is None:
        return None, None
    folder = named_folder(int8.data)
    # Those an FP32 engine is tried on measure nothing, so any split will do.
    allow_val = int8.allow_val or precision is Precision.FP32
    images = None if folder is None else select_images(folder, int8.images, allow_val=allow_val)
    evaluation = None if int8.evaluation is None else find_images(Path(int8.evaluation), allow_val=True)
    return images, evaluation


def _colors(wishes: Wishes) -> None:
    """Refuse a mean or a standard deviation on another scale than 0..1, whatever the net's own is."""
    mean, std = wishes.mean or IMAGENET_MEAN, wishes.std or IMAGENET_STD
    Preprocessing(mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]))


def precision_of(text: str) -> Precision:
    """The precision that a user names.

    Args:
        text: such as "fp16".

    Returns:
        The precision.

    Raises:
        UsageError: there is none of that name.
    """
    if text not in {p.value for p in Precision}:
        allowed = ", ".join(p.value for p in Precision)
        raise UsageError(f"precision must be one of {allowed}, got '{text}'. Choose one.")
    return Precision(text)
