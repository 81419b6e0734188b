"""Export: load, trace, simplify, set the precision, describe, write, verify."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec

from hrnet_deploy.artifact import atomic_output, card_metadata
from hrnet_deploy.engines.compare import Difference
from hrnet_deploy.errors import UsageError
from hrnet_deploy.pipeline.facts import Facts
from hrnet_deploy.pipeline.finishing import Finished, finish
from hrnet_deploy.pipeline.origin import open_origin
from hrnet_deploy.pipeline.planning import Int8Wishes, Plan, Wishes, check_early, make_plan
from hrnet_deploy.pipeline.scoring import Score
from hrnet_deploy.pipeline.verifying import make_probes, verify
from hrnet_deploy.progress import bar
from hrnet_deploy.quantization import QdqTarget
from hrnet_deploy.shapes import HeightWidth
from hrnet_deploy.spec import ModelCard
from hrnet_deploy.version import VERSION

_STEPS = ("loading", "running the original", "tracing", "setting the precision", "verifying")
_P = ParamSpec("_P")


@dataclass(frozen=True)
class Exported:
    """A finished artefact.

    Attributes:
        path: where it is.
        card: what it says of itself.
        difference: how far it is from its original.
        nodes: nodes in the graph.
        size_bytes: size on disk.
        kept_fp32: nodes of an FP16 graph left in FP32, since half precision could not hold their values.
        underflowed: weights that became zero in half precision.
        sensitivity: by block, what the net loses if that block alone is INT8; empty unless asked for.
    """

    path: Path
    card: ModelCard
    difference: Difference
    nodes: int
    size_bytes: int
    kept_fp32: tuple[str, ...] = ()
    underflowed: int = 0
    sensitivity: Mapping[str, Score] = field(default_factory=dict)


def export_artifact(
    model: str | None = None,
    *,
    weights: str | Path | None = None,
    precision: str = "fp32",
    output: str | Path | None = None,
    imgsz: str | int | HeightWidth | None = None,
    batch: str | int | None = None,
    opset: int | None = None,
    simplify: bool = True,
    pixels_in: bool | str = False,
    labels_out: bool | str = False,
    align_corners: bool = False,
    num_classes: int | None = None,
    classes: str | Path | Sequence[str] | None = None,
    task: str | None = None,
    ema: bool = False,
    resize: str | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    calib_data: str | Path | None = None,
    calib_images: int = 512,
    calib_method: str = "entropy",
    calib_cache: str | Path | None = None,
    qdq_target: str = "cpu",
    keep_fp: Sequence[str] = (),
    remainder: str = "fp32",
    per_tensor: bool = False,
    allow_val: bool = False,
    eval_data: str | Path | None = None,
    allow_overlap: bool = False,
    sensitivity: bool = False,
    trt_cache: str | None = None,
) -> Exported:
    """Export a net to an ONNX file that describes itself and agrees with its original.

    Args:
        model: a variant ("hrnet_w18"), a zoo name ("hrnet_w18.ms_in1k") or a foreign .onnx file; None for the variant
            found in the weights, else hrnet_w18.
        weights: a checkpoint file, URL or zoo name, or "random"; None for the variant's first zoo weights.
        precision: "fp32", "fp16" (FP16 graph, FP32 input and output) or "int8" (Q/DQ graph).
        output: the .onnx file to write; None for `<variant>_<precision>.onnx` in the current folder.
        imgsz: H, (H, W) or "HxW" in pixels: fixed; "MIN:OPT:MAX" or "dynamic": open; None: the net's own, fixed.
        batch: N: fixed; "MIN:OPT:MAX": open; None: open, 1 to 16.
        opset: ONNX opset; None for 20, or a foreign file's own.
        simplify: fold and prune the graph.
        pixels_in: take uint8 (N, H, W, 3) and normalise inside; True or "bgr" for OpenCV's order, or "rgb".
        labels_out: answer inside the graph; segmentation: uint8 label map at input size; classification: True or "topk"
            for the five best, "softmax" for all probabilities.
        align_corners: how a foreign segmentation net's logits are upsampled; HRNet's never are so.
        num_classes: classes of random weights; else checked against the file.
        classes: class names, or a text file with one a line; None for ImageNet's or Cityscapes'.
        task: "classification" or "segmentation", for a foreign .onnx.
        ema: take the averaged copy of the weights where the checkpoint has one.
        resize: overrides the card: "short-side", "squash", "long-side" or "none".
        crop_pct: overrides the card: centre crop fraction in (0, 1].
        interpolation: overrides the card: "bilinear", "bicubic" or "opencv-linear".
        mean: overrides the card: three numbers on a 0..1 scale.
        std: overrides the card: likewise.
        calib_data: folder of images to calibrate INT8 on, or to measure FP16's ranges on; None for the environment's
            HRNET_CALIB_DATA.
        calib_images: how many, balanced over classes; others are set aside to judge the result.
        calib_method: "entropy", "percentile", "minmax", "mse", or "auto" for the best of them on held-out images.
        calib_cache: the calibration table; None for OUTPUT.calib.json. Used again where everything is the same.
        qdq_target: "cpu" (ONNX Runtime, OpenVINO) or "tensorrt".
        keep_fp: blocks ("stage4.fuse"), nodes or patterns that stay in floating point; "auto" for as many of the most
            sensitive blocks as it takes.
        remainder: "fp32", or "fp16" for what a graph for TensorRT does not compute in INT8.
        per_tensor: one weight scale per layer instead of one per output channel.
        allow_val: calibrate on a split for evaluation.
        eval_data: folder of other images that judge INT8 against float32; None for some of the calibration folder's,
            which are then set aside.
        allow_overlap: let an image be in both folders.
        sensitivity: measure what each block alone loses in INT8.
        trt_cache: a TensorRT version from 8.6 to 10.x: the same table also becomes OUTPUT.cache, the text that its
            entropy calibrator reads.

    Returns:
        The artefact and what was measured (`export`: only its path).

    Raises:
        UsageError: arguments that cannot be used.
        CheckpointError: weights that cannot be read or do not fit.
        DownloadError: zoo weights that cannot be fetched.
        ExportError: a conversion failed.
        ImageError: calibration images that cannot be used.
        VerificationError: the artefact is too far from its original; nothing is left behind.
        MissingDependencyError: the export extra is not installed.
    """
    wishes = Wishes(
        precision=precision,
        output=output,
        imgsz=imgsz,
        batch=batch,
        opset=opset,
        simplify=simplify,
        pixels_in=pixels_in,
        labels_out=labels_out,
        align_corners=align_corners,
        classes=classes,
        resize=resize,
        crop_pct=crop_pct,
        interpolation=interpolation,
        mean=mean,
        std=std,
        int8=Int8Wishes(
            data=calib_data,
            images=calib_images,
            method=calib_method,
            cache=calib_cache,
            target=_target(qdq_target),
            keep_fp=(keep_fp,) if isinstance(keep_fp, str) else tuple(keep_fp),
            per_channel=not per_tensor,
            remainder=remainder,
            allow_val=allow_val,
            evaluation=eval_data,
            allow_overlap=allow_overlap,
            sensitivity=sensitivity,
            trt_cache=trt_cache,
        ),
    )
    check_early(wishes)
    with _Steps() as step:
        step("loading")
        origin = open_origin(model, weights, task=task, num_classes=num_classes, ema=ema, opset=opset)
        facts = origin.facts
        plan = make_plan(wishes, facts)
        step("running the original")
        probes = make_probes(plan.preprocessing, plan.shapes, origin.reference)
        step("tracing")
        graph = origin.graph(plan.shapes, plan.opset)
        del origin  # its weights need not be in memory twice
        step("setting the precision")
        made = finish(graph, plan, facts, probes)
        step("verifying")
        return _write(made, plan, facts)


def _target(text: str) -> QdqTarget:
    try:
        return QdqTarget(text)
    except ValueError as error:
        raise UsageError(f"--qdq-target must be 'cpu' or 'tensorrt', got '{text}'. Choose one.") from error


def _path_of(exporting: Callable[_P, Exported]) -> Callable[_P, Path]:
    """The same function with the same signature, but only the path comes back."""

    @functools.wraps(exporting)
    def export(*args: _P.args, **options: _P.kwargs) -> Path:
        return exporting(*args, **options).path

    export.__name__ = export.__qualname__ = "export"
    return export


export = _path_of(export_artifact)
"""`export_artifact`, returning the path: `export("hrnet_w18", weights="w18.pth", precision="fp16")`."""


def _write(made: Finished, plan: Plan, facts: Facts) -> Exported:
    from hrnet_deploy.calibration.tensorrt_cache import write_cache
    from hrnet_deploy.exporters.file import write

    card = _card(made, plan, facts)
    with atomic_output(plan.path) as temporary:
        write(made.graph, temporary, card_metadata(card))
        difference = verify(temporary, card, made.probes)
        measured = {f"parity_{name}": value for name, value in dataclasses.asdict(difference).items()}
        if made.quantized is not None:
            score = made.quantized.score
            difference = Difference(score.max_abs, score.max_rel, score.agreement)
            measured = made.quantized.measured()
        card = dataclasses.replace(card, measured=measured)
        write(made.graph, temporary, card_metadata(card))
        size_bytes = sum(part.stat().st_size for part in temporary.parent.iterdir())
        if made.quantized is not None and plan.int8.trt_cache is not None:
            text = write_cache(made.quantized.table.amax(), plan.int8.trt_cache)
            temporary.with_suffix(".cache").write_text(text, encoding="utf-8")
    return Exported(
        plan.path,
        card,
        difference,
        len(made.graph.graph.node),
        size_bytes,
        made.kept_fp32,
        made.underflowed,
        {} if made.quantized is None else made.quantized.sensitivity,
    )


def _card(made: Finished, plan: Plan, facts: Facts) -> ModelCard:
    from hrnet_deploy.exporters import file, opset

    inputs, outputs = file.describe(made.graph)
    preprocessing = plan.preprocessing
    if plan.pixels is not None and plan.pixels is not preprocessing.channel_order:
        mean, std = preprocessing.mean[::-1], preprocessing.std[::-1]
        preprocessing = dataclasses.replace(preprocessing, channel_order=plan.pixels, mean=mean, std=std)
    tools = {"hrnet-deploy": VERSION} | {name: version(name) for name in ("onnx", "onnxsim")}
    return ModelCard(
        task=facts.task,
        variant=facts.variant,
        classes=plan.classes,
        preprocessing=preprocessing,
        precision=plan.precision,
        inputs=inputs,
        outputs=outputs,
        shapes=plan.shapes,
        output_kind=plan.output_kind,
        pixels_in=plan.pixels is not None,
        align_corners=plan.align_corners,
        opset=opset.written(made.graph),
        lineage={**facts.lineage, **tools, **({} if made.quantized is None else made.quantized.lineage())},
    )


class _Steps:
    """A progress bar over the named steps; shows each while it runs."""

    def __enter__(self) -> _Steps:
        layout = "{desc:<22} {bar:20} {n_fmt}/{total_fmt} [{elapsed}]"
        self._bar: Any = bar(total=len(_STEPS), bar_format=layout)
        return self

    def __call__(self, name: str) -> None:
        self._bar.n = _STEPS.index(name)
        self._bar.set_description_str(name)

    def __exit__(self, *_: object) -> None:
        self._bar.close()
