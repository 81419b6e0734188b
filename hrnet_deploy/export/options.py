"""Every option of an export, declared once: signature, flags, help, normal form and conditions come from here."""

from __future__ import annotations

import dataclasses
import functools
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from hrnet_deploy import limits
from hrnet_deploy.errors import UsageError
from hrnet_deploy.export import option_declaration as needs
from hrnet_deploy.export import option_values as values
from hrnet_deploy.export.option_declaration import Declaration, ExportKind, declared, flag, flag_with_value, option

_model = functools.partial(option, group="model", needs=needs.ANY_EXPORT)
_checkpoint = functools.partial(option, group="model", needs=needs.CHECKPOINT)
_foreign = functools.partial(option, group="model", needs=needs.FOREIGN_GRAPH)
_output = functools.partial(option, group="output", needs=needs.ANY_EXPORT)
_graph = functools.partial(option, group="output", needs=needs.NEW_GRAPH)
_card = functools.partial(option, group="classes and preprocessing", needs=needs.NEW_GRAPH)
_calibration = functools.partial(option, group="calibration images")
_int8 = functools.partial(option, group="INT8", needs=needs.INT8)
_accuracy = functools.partial(option, group="accuracy")
_engine = functools.partial(option, group="TensorRT engine", needs=needs.ENGINE)
_triton = functools.partial(option, group="Triton Inference Server")


@dataclass(frozen=True)
class ExportOptions:
    """Options of one export, each in its normal form; None means that an option is not given."""

    model: str | Path | None = _model(
        None, values.PATH, "variant (hrnet_w18), zoo name (hrnet_w18.ms_in1k, or its publisher's HRNet_W18_C) or .onnx "
        "file (default: the variant found in the weights)", metavar="MODEL|FILE.onnx",
    )  # fmt: skip
    _: KW_ONLY
    weights: str | Path | None = _model(
        None, values.PATH, "checkpoint file, URL, zoo name, or 'random' to measure speed (default: the zoo's weights "
        "for MODEL)", metavar="SRC",
    )  # fmt: skip
    ema: bool = _checkpoint(False, values.SWITCH, "take the averaged copy of the weights from the checkpoint")
    weights_key: str | None = _checkpoint(
        None, values.TEXT, "place of the model in a checkpoint that holds several, such as state_dict.student",
        metavar="NAME",
    )  # fmt: skip
    inplace_abn: bool = _checkpoint(
        False, values.SWITCH, "read the batch norms as InPlaceABN layers, which scale by |weight| + 1e-5"
    )
    align_corners: bool | None = option(
        None, values.SWITCH, "resize with aligned corners: an HRNetV2 model everywhere, a foreign segmentation graph "
        "its logits (default: as the checkpoint or a yaml beside it states, else no)",
        group="model", needs=needs.NEW_GRAPH,
    )  # fmt: skip
    num_classes: int | None = option(
        None, values.WHOLE_NUMBER, "number of classes of random weights, or a check of the file's number",
        metavar="N", group="model", needs=needs.NEW_GRAPH, limits=(1, limits.CLASSES),
    )  # fmt: skip
    task: str | None = _foreign(
        None, values.TEXT, "task of a foreign .onnx file", metavar="{classification,segmentation}"
    )
    graph_output: str | None = _foreign(
        None, values.TEXT, "output of a foreign .onnx file that holds the scores, where it has several", metavar="NAME"
    )

    output: str | Path | None = _output(
        None, values.PATH, "file to write (default: VARIANT_PRECISION.onnx in the current folder)",
        metavar="OUT.onnx|OUT.engine",
    )  # fmt: skip
    format: str | None = _output(
        None, values.TEXT, "kind of file, where --output does not name it", metavar="{onnx,engine}"
    )
    precision: str | None = _output(
        None, values.TEXT, "arithmetic of the graph; fp16 keeps FP32 input and output, int8 writes Q/DQ nodes "
        "(default: fp32, or the precision of an .onnx file made here)", metavar="{fp32,fp16,int8}",
    )  # fmt: skip
    imgsz: str | int | tuple[int, int] | None = _output(
        None, values.IMAGE_SIZE, "image size in pixels; MIN:OPT:MAX or 'dynamic' for open sizes (default: the model's "
        "own size)", metavar="H[xW]",
    )  # fmt: skip
    batch: str | int | None = _output(
        None, values.BATCH, "images per batch (default: open, 1 to 16)", metavar="N|MIN:OPT:MAX"
    )
    opset: int | None = _graph(
        None, values.WHOLE_NUMBER, "ONNX opset (default: 20, or a foreign file's own)", metavar="N"
    )
    simplify: bool = _graph(True, values.SWITCH, "fold constants and prune the graph")
    pixels_in: bool | str = _graph(
        False, values.PIXEL_MODE, "take uint8 pixels (N, H, W, 3) and normalize them in the graph (bgr if no order is "
        "given)", metavar="bgr|rgb",
    )  # fmt: skip
    labels_out: bool | str = _graph(
        False, values.LABEL_MODE, "compute labels in the graph: a uint8 label map at input size, or the five best "
        "classes (topk) or all probabilities (softmax) of a classifier", metavar="topk|softmax",
    )  # fmt: skip

    features: str | Sequence[str] = _graph(
        (), values.NAMES, "outputs beside the scores, or instead of them where the model has no head: pooled (the "
        "embedding), maps (the branches after stage 4), conv1, stem, layer1, stage2, stage3, incre, final; of a "
        "foreign .onnx file, names of its outputs", metavar="NAME,NAME",
    )  # fmt: skip

    classes: str | Path | Sequence[str] | None = _card(
        None, values.CLASS_NAMES, "class names: a file with one a line, numbered, a table or JSON (default: those in "
        "the checkpoint, else ImageNet's or Cityscapes')", metavar="FILE",
    )  # fmt: skip
    threshold: float | None = _card(
        None, values.NUMBER, "probability above which a model with one output channel predicts its second class "
        "(default: 0.5; with mmsegmentation its configuration's, else 0.3)", metavar="P",
    )  # fmt: skip
    preprocessing: str | Path | None = _card(
        None, values.PATH, "preprocessing of a code base or of an artifact made here (default: the checkpoint's own)",
        metavar="{official,timm,mmpretrain,paddle}|FILE.onnx",
    )  # fmt: skip
    resize: str | None = _card(
        None, values.TEXT, "resize method before the model", metavar="{short-side,squash,long-side,none}"
    )
    crop_pct: float | None = _card(None, values.NUMBER, "fraction of a center crop in (0, 1]", metavar="F")
    interpolation: str | None = _card(
        None, values.TEXT, "interpolation of the resize", metavar="{bilinear,bicubic,opencv-linear}"
    )
    mean: Sequence[float] | None = _card(
        None, values.COLORS, "mean of each color on a 0..1 scale", metavar=("R", "G", "B")
    )
    std: Sequence[float] | None = _card(
        None, values.COLORS, "standard deviation of each color on a 0..1 scale", metavar=("R", "G", "B")
    )

    calib_data: str | Path | None = _calibration(
        None, values.PATH, "folder of images that calibrate INT8, or that measure the ranges of FP16 (default: "
        "$HRNET_CALIB_DATA)", metavar="DIR", needs=needs.IMAGE_FOLDER,
    )  # fmt: skip
    calib_images: int | None = _calibration(
        None, values.WHOLE_NUMBER, "number of calibration images, balanced over classes (default: 512); other images "
        "validate the result", metavar="N", needs=needs.CALIBRATION_IMAGES, limits=(1, limits.DATASET_IMAGES),
    )  # fmt: skip
    allow_val: bool = _calibration(
        False, values.SWITCH, "calibrate on a split for evaluation", needs=needs.CALIBRATION_IMAGES
    )

    calib_method: str | None = _int8(
        None, values.TEXT, "how thresholds are chosen; auto takes the best on validation images (default: entropy)",
        metavar="{entropy,minmax,percentile,mse,auto}",
    )  # fmt: skip
    calib_cache: str | Path | None = _int8(
        None, values.PATH, "calibration table, used again where nothing has changed (default: OUT.calib.json)",
        metavar="FILE",
    )  # fmt: skip
    qdq_target: str | None = _int8(
        None, values.TEXT, "kernels that the Q/DQ layout suits: ONNX Runtime and OpenVINO (cpu), or TensorRT (default: "
        "by output)", metavar="{cpu,tensorrt}",
    )  # fmt: skip
    residual: str | None = _int8(
        None, values.TEXT, "what sums read in a graph for TensorRT: one INT8 operand, added inside an INT8 "
        "convolution, or the values themselves (default: float)", metavar="{int8,float}",
    )  # fmt: skip
    keep_fp: str | Sequence[str] = _int8(
        (), values.NAMES, "blocks (stage4.fuse), nodes or patterns kept in float; auto keeps the most sensitive "
        "blocks, as many as needed; none keeps only what is named beside it, which is fastest", metavar="NAME,NAME",
    )  # fmt: skip
    remainder: str | None = _int8(
        None, values.TEXT, "arithmetic of what a graph for TensorRT does not compute in INT8 (default: fp16 in an "
        "engine, else fp32)", metavar="{fp32,fp16}",
    )  # fmt: skip
    per_tensor: bool = _int8(False, values.SWITCH, "use one weight scale per layer, not one per output channel")
    sensitivity: bool = _int8(False, values.SWITCH, "measure what each block alone loses in INT8")
    trt_cache: str | None = _int8(
        None, values.TEXT, "also write OUT.cache for the entropy calibrator of this TensorRT, 8.6 to 10.x",
        metavar="VERSION",
    )  # fmt: skip

    eval_data: str | Path | None = _accuracy(
        None, values.PATH, "folder of other images that validate INT8 and FP16 (default: some of --calib-data)",
        metavar="DIR", needs=needs.EVALUATION_FOLDER,
    )  # fmt: skip
    eval_limit: int | None = _accuracy(
        None, values.WHOLE_NUMBER, "number of --eval-data images, spread evenly, for --max-drop and --waterfall "
        "(default: all)", metavar="N", needs=needs.ANY_EXPORT, limits=(1, limits.DATASET_IMAGES),
    )  # fmt: skip
    allow_overlap: bool = _accuracy(
        False, values.SWITCH, "let an image of --eval-data also be a calibration image", needs=needs.TWO_FOLDERS
    )
    max_drop: float | None = _accuracy(
        None, values.NUMBER, "maximum loss in percentage points of top-1 or mIoU against the FP32 graph on labeled "
        "--eval-data; beyond it the most sensitive blocks move to float, as few as needed; where that does not "
        "suffice, the exit code is 3", metavar="PP", needs=needs.ANY_EXPORT,
    )  # fmt: skip
    executor: str | None = _accuracy(
        None, values.TEXT, "where the images of --max-drop run: processes:N, ray://HOST:PORT, ray://local or "
        "dask://HOST:PORT; the folder of the output must be shared (default: this process)", metavar="E",
        needs=needs.MAX_DROP,
    )  # fmt: skip
    keep_rejected: bool = _accuracy(
        False, values.SWITCH, "write the artifact even where it exceeds --max-drop, or, without --max-drop, where FP16 "
        "or INT8 keeps less than 90 % of the predictions on validation images; the exit code stays 3",
        needs=needs.NEW_GRAPH,
    )  # fmt: skip
    waterfall: bool = _accuracy(
        False, values.SWITCH, "measure on --eval-data what each step from the checkpoint to the artifact loses",
        needs=needs.ANY_EXPORT,
    )  # fmt: skip

    backend: str | None = _engine(
        None, values.TEXT, "library that builds the engine (default: the one installed)",
        metavar="{auto,tensorrt,tensorrt-rtx}",
    )  # fmt: skip
    device: str | None = _engine(None, values.TEXT, "GPU that builds (default: the first)", metavar="cuda:N")
    target: str | None = _engine(
        None, values.TEXT, "GPUs to build for; TensorRT-RTX builds for other GPUs than this machine's, such as t4 or "
        "sm86,sm89 (default: local)", metavar="local|sm86,...",
    )  # fmt: skip
    int8_path: str | None = _engine(
        None, values.TEXT, "INT8 through the entropy calibrator of TensorRT 8.6 to 10 (implicit) or through Q/DQ nodes "
        "(default: implicit where it exists)", metavar="{auto,implicit,qdq}", needs=needs.INT8_ENGINE,
    )  # fmt: skip
    timing_cache: str | Path | None = _engine(
        None, values.PATH, "file of measured kernels (default: one per GPU and version in the cache folder)",
        metavar="FILE",
    )  # fmt: skip
    workspace: float | None = _engine(None, values.NUMBER, "maximum scratch memory of a kernel in GiB", metavar="GIB")
    opt_level: int | None = _engine(
        None, values.WHOLE_NUMBER, "0 builds fast, 5 makes the engine fast (default: TensorRT's own)", metavar="0..5"
    )
    aux_streams: int | None = _engine(
        None,
        values.WHOLE_NUMBER,
        "streams for HRNet's parallel branches (default: TensorRT's own)",
        metavar="N",
        limits=(0, limits.STREAMS),
    )
    tf32: bool = _engine(
        True, values.SWITCH, "let FP32 convolutions use TF32 tensor cores, which round their inputs to 10 bits"
    )

    triton: str | Path | None = _triton(
        None, values.PATH, "model repository to write the artifact to, as a model or as a new version of one; an "
        "artifact made here is not exported again", metavar="DIR", needs=needs.ANY_EXPORT,
    )  # fmt: skip
    triton_delay_us: int | None = _triton(
        None, values.WHOLE_NUMBER, "longest wait of Triton for a larger batch in microseconds (default: 0)",
        metavar="US", needs=needs.TRITON,
    )  # fmt: skip
    images: bool = _triton(
        False, values.SWITCH, "add a model NAME_images that takes JPEG and PNG files and returns results as JSON; "
        "Triton's Python needs this package", needs=needs.TRITON,
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Bring every value to its normal form; refuse a value of another type."""
        for field, found in declarations():
            value = getattr(self, field.name)
            try:
                normal: Any = field.default if value is None else found.type.normal(value)
            except (TypeError, ValueError) as error:
                raise UsageError(
                    f"{flag(field.name)} must be {found.type.text}, got {value!r:.80}. Correct it or leave it out."
                ) from error
            if found.limits is not None and normal is not None and not found.limits[0] <= normal <= found.limits[1]:
                low, high = found.limits
                raise UsageError(
                    f"{flag(field.name)} must be {low} to {high}, got {normal!s:.80}. Correct it or leave it out."
                )
            object.__setattr__(self, field.name, normal)

    def given(self) -> frozenset[str]:
        """Return the names of the options that differ from their default."""
        return frozenset(f.name for f, _ in declarations() if getattr(self, f.name) not in {None, (), f.default})

    def check_applies(self, kind: ExportKind) -> None:
        """Refuse options that have no effect on this export; the error names the first such flag."""
        for field, found in declarations():
            if field.name in kind.given and not found.needs.met(kind):
                name = flag(field.name, getattr(self, field.name))
                raise UsageError(f"{name} applies to {found.needs.text} only, got {kind}. Leave it out.")

    def command_line(self, program: str = "hrnet-export") -> str:
        """Return the command, quoted for a shell, that gives the same options."""
        words, last = [program], []
        for name, found in ((field.name, found) for field, found in declarations() if field.name in self.given()):
            value, switch = getattr(self, name), flag(name, getattr(self, name))
            if name == "model":
                last = ["--", str(value)] if str(value).startswith("-") else []
                words += [] if last else [str(value)]
            elif isinstance(value, bool):
                words.append(switch)
            elif name == "classes" and isinstance(value, tuple):
                words += [switch, json.dumps(value, ensure_ascii=False)]  # a name may hold commas and blanks
            elif found.type is values.NAMES:
                words += [word for part in value for word in flag_with_value(switch, part)]
            elif isinstance(value, tuple):
                words += [switch, *map(str, value * 3 if len(value) == 1 else value)]  # colors
            else:
                words += flag_with_value(switch, str(value))
        return shlex.join([*words, *last])


def declarations() -> Iterator[tuple[dataclasses.Field[Any], Declaration]]:
    """Yield every option of `ExportOptions` in order."""
    return ((field, declared(field)) for field in dataclasses.fields(ExportOptions))
