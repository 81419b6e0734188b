"""The plan of an export: every option checked, against this machine first and against the model then."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import onnx

from hrnet_deploy.artifact.files import check_output
from hrnet_deploy.calibration.image_folder import find_images
from hrnet_deploy.calibration.image_selection import CalibrationImage
from hrnet_deploy.engines.tensorrt.builder import Typing
from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.engine.plan import EnginePlan, plan_engine
from hrnet_deploy.export.gate.accuracy_target import AccuracyTarget, find_accuracy_target
from hrnet_deploy.export.graph_io import (
    check_modes,
    in_channel_order,
    resolve_class_names,
    resolve_output_kind,
    resolve_pixel_order,
    resolve_preprocessing,
    resolve_shapes,
    resolve_threshold,
)
from hrnet_deploy.export.option_declaration import ExportKind
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.quantize.calibrate import CalibrationSplit, named_folder, select_images
from hrnet_deploy.export.quantize.plan import FP16_SCALES_OPSET, Int8Plan, check_scales, plan_int8
from hrnet_deploy.export.source import RANDOM, ModelInfo
from hrnet_deploy.exporters import onnx_file
from hrnet_deploy.exporters.opset import written
from hrnet_deploy.quantization_info import QuantizationInfo
from hrnet_deploy.spec import ChannelOrder, ModelCard, OutputKind, Precision, Preprocessing, ShapeRange
from hrnet_deploy.version import VERSION

_WEAK_OPSET = 17
"""Source: onnx-tensorrt 8.6, operators.md; NVIDIA/TensorRT issue 4797 for calibration of newer ones."""
ENGINE_SUFFIX = ".engine"
_FORMATS = {"onnx": ".onnx", "engine": ENGINE_SUFFIX}
_DEFAULT_IMAGES = 512


@dataclass(frozen=True)
class EarlyPlan:
    """What is decided before any weights are read.

    Attributes:
        opset: of the graph; None for the newest that all runtimes read, or a foreign file's own.
        engine: how the engine is built; None for an .onnx file.
        images: calibration images and validation images; None where no folder is named or none is needed.
        evaluation: the user's other images, which validate the result; None for those of `images`.
    """

    options: ExportOptions
    precision: Precision
    int8: Int8Plan
    opset: int | None
    engine: EnginePlan | None
    images: CalibrationSplit | None = None
    evaluation: tuple[CalibrationImage, ...] | None = None

    def resolve(self, info: ModelInfo) -> ExportPlan:
        """Fit the options to the model."""
        options = self.options
        shapes = resolve_shapes(options, info)
        preprocessing = resolve_preprocessing(options, info, shapes)
        if info.opset is not None and self.opset is None and self.precision is Precision.INT8:
            check_scales(self.int8, info.opset, f"the graph's own {info.opset}. Give --opset {FP16_SCALES_OPSET}")
        classes = resolve_class_names(options.classes, info)
        suffix = ".onnx" if self.engine is None else ENGINE_SUFFIX
        path = Path(options.output or f"{info.variant}_{self.precision.value}{suffix}")
        check_output(path, _input_files(options))
        return ExportPlan(
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            info=info,
            path=path,
            shapes=shapes,
            preprocessing=preprocessing,
            pixels=resolve_pixel_order(options.pixels_in),
            output_kind=resolve_output_kind(options.labels_out, info),
            classes=classes,
            threshold=resolve_threshold(options.threshold, info, classes),
            accuracy=find_accuracy_target(options, info, classes, preprocessing, shapes),
        )


@dataclass(frozen=True, kw_only=True)
class ExportPlan(EarlyPlan):
    """What an export creates.

    Attributes:
        preprocessing: from image to float model input.
        pixels: channel order of a uint8 input; None for a float one.
        threshold: of a model with one channel, the probability above which it predicts the second class; else None.
    """

    info: ModelInfo
    path: Path
    shapes: ShapeRange
    preprocessing: Preprocessing
    pixels: ChannelOrder | None
    output_kind: OutputKind
    classes: tuple[str, ...]
    threshold: float | None
    accuracy: AccuracyTarget | None = None

    def card(self, graph: onnx.ModelProto, quantization: QuantizationInfo | None = None) -> ModelCard:
        """Describe a finished graph of this export; nothing is measured yet."""
        inputs, outputs = onnx_file.describe(graph)
        tools = {"hrnet-deploy": VERSION, "onnx": version("onnx")}
        with contextlib.suppress(PackageNotFoundError):  # not needed without simplification
            tools["onnxsim"] = version("onnxsim")
        return ModelCard(
            task=self.info.task,
            variant=self.info.variant,
            classes=self.classes,
            preprocessing=in_channel_order(self.preprocessing, self.pixels or self.preprocessing.channel_order),
            precision=self.precision,
            inputs=inputs,
            outputs=outputs,
            shapes=self.shapes,
            output_kind=self.output_kind,
            pixels_in=self.pixels is not None,
            align_corners=self.info.align_corners,
            threshold=self.threshold,
            palette=self.info.palette,
            opset=written(graph),
            quantization=quantization,
            lineage={**self.info.lineage, **tools},
        )

    def float_card(self, graph: onnx.ModelProto) -> ModelCard:
        """Describe the float32 graph of this export: float input, the model's own output."""
        kind = self.info.output_kind
        return dataclasses.replace(self, precision=Precision.FP32, pixels=None, output_kind=kind).card(graph)

    @property
    def user_images(self) -> tuple[CalibrationImage, ...]:
        """Images of the user for a comparison of the engine, validation images first."""
        if self.evaluation is not None:
            return self.evaluation
        return () if self.images is None else self.images.validation + self.images.calibration


def make_plan(options: ExportOptions) -> EarlyPlan:
    """Decide all that needs no weights, and pick the images; nothing is fetched or read before that."""
    precision = _precision_of(options.precision)
    engine = _plan_engine(options, precision) if _wants_engine(options) else None
    for output in (options.output, options.calib_cache, options.timing_cache):
        if output is not None:
            check_output(Path(output), _input_files(options))
    check_modes(options)
    opset = options.opset
    if engine is not None and engine.typing is Typing.WEAK:  # its parser and calibrators read no newer one
        opset = opset or _WEAK_OPSET
        if opset > _WEAK_OPSET:
            raise UsageError(
                f"TensorRT {engine.api.version} with builder flags reads opset {_WEAK_OPSET} at most, got {opset}. "
                "Leave --opset out."
            )
    int8 = plan_int8(options, engine, opset)
    images = evaluation = None
    if precision is not Precision.FP32 or engine is not None:  # the only walk of these folders
        folder = named_folder(options.calib_data)
        # The images of an FP32 engine measure nothing, so any split serves.
        allow_val = options.allow_val or precision is Precision.FP32
        count = _DEFAULT_IMAGES if options.calib_images is None else options.calib_images
        images = None if folder is None else select_images(folder, count, allow_val=allow_val)
        evaluation = None if options.eval_data is None else find_images(Path(options.eval_data), allow_val=True)
    return EarlyPlan(options, precision, int8, opset, engine, images, evaluation)


def _input_files(options: ExportOptions) -> list[Path]:
    """Return what an output must not replace; some of it may be names and not files."""
    inputs = (options.model, options.weights, options.classes, options.calib_data, options.eval_data)
    return [Path(each) for each in inputs if isinstance(each, str | os.PathLike)]


def export_kind(options: ExportOptions, card: ModelCard | None) -> ExportKind:
    """Return what decides which options apply; `card` is that of the .onnx file it starts from, if any."""
    engine = _wants_engine(options)
    as_is = engine and card is not None and options.precision in {None, card.precision.value}
    precision = card.precision if as_is and card is not None else _precision_of(options.precision)
    return ExportKind(
        precision=precision.value,
        engine=engine,
        as_is=as_is,
        graph=str(options.model).endswith(".onnx"),
        random=options.weights == RANDOM,
        images=named_folder(options.calib_data) is not None,
        given=options.given(),
    )


def _wants_engine(options: ExportOptions) -> bool:
    """Return whether --output or --format means a TensorRT engine; refuse a suffix and a format that differ."""
    if options.format not in {None, *_FORMATS}:
        raise UsageError(f"--format must be {' or '.join(_FORMATS)}, got '{options.format}'. Choose one.")
    suffix = None if options.output is None else Path(options.output).suffix
    if suffix not in {None, *_FORMATS.values()} or (options.format and suffix not in {None, _FORMATS[options.format]}):
        wanted = _FORMATS[options.format] if options.format else " or ".join(_FORMATS.values())
        raise UsageError(f"output must end in {wanted}, got '{options.output}'. Rename it.")
    return ENGINE_SUFFIX in {suffix, _FORMATS.get(options.format or "")}


def _precision_of(text: str | None) -> Precision:
    """Return the precision of that name; fp32 if none is given."""
    if text not in {None, *(p.value for p in Precision)}:
        allowed = ", ".join(p.value for p in Precision)
        raise UsageError(f"precision must be one of {allowed}, got '{text}'. Choose one.")
    return Precision(text or Precision.FP32)


def _plan_engine(options: ExportOptions, precision: Precision) -> EnginePlan:
    """With an accuracy target, plan only an engine that takes each block's precision from the graph."""
    if options.waterfall:
        raise UsageError("--waterfall ends at an .onnx file, got an engine. Give both to hrnet-report --waterfall.")
    # A calibrator cannot express these; a Q/DQ graph holds them.
    needing = {
        "--max-drop": options.max_drop is not None,
        "--residual": options.residual is not None,
        "--per-tensor": options.per_tensor,
        "--remainder fp16": options.remainder == Precision.FP16.value,
    }
    flag = next((flag for flag, given in needing.items() if given), None)
    if flag is not None and options.int8_path == "implicit":
        raise UsageError(f"{flag} needs --int8-path qdq, got implicit. Leave it out.")
    engine = plan_engine(options if flag is None else dataclasses.replace(options, int8_path="qdq"), precision)
    if options.remainder == Precision.FP16.value and engine.typing is Typing.WEAK:
        raise UsageError(
            f"--remainder fp16 needs a TensorRT that takes FP16 from the graph (10 or newer), got "
            f"{engine.api.version}. Leave it out."
        )
    if options.max_drop is not None and precision is Precision.FP16 and engine.flags_set_precision:
        raise UsageError(
            f"--max-drop needs a TensorRT that takes FP16 from the graph (10 or newer), got {engine.api.version}. "
            "Leave it out, and measure the engine with hrnet-report."
        )
    return engine
