"""Export: load, trace, simplify, set the precision, describe, write, verify."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec

from hrnet_deploy.pipeline.as_is import compile_file
from hrnet_deploy.pipeline.budget import BudgetWishes, refuse_budget
from hrnet_deploy.pipeline.command import command_line
from hrnet_deploy.pipeline.delivering import deliver
from hrnet_deploy.pipeline.engine_plan import EngineWishes
from hrnet_deploy.pipeline.finishing import Finisher
from hrnet_deploy.pipeline.origin import open_origin, own_card
from hrnet_deploy.pipeline.planning import check_early, make_plan, wants_engine
from hrnet_deploy.pipeline.steps import Steps
from hrnet_deploy.pipeline.verdict import GateMissedError
from hrnet_deploy.pipeline.verifying import make_probes
from hrnet_deploy.pipeline.waterfall import measure_waterfall
from hrnet_deploy.pipeline.wishes import Int8Wishes, Wishes
from hrnet_deploy.pipeline.writing import Exported
from hrnet_deploy.shapes import HeightWidth

_P = ParamSpec("_P")


def export_artifact(
    model: str | None = None,
    *,
    weights: str | Path | None = None,
    precision: str | None = None,
    output: str | Path | None = None,
    format: str | None = None,  # noqa: A002  # the flag's name
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
    qdq_target: str | None = None,
    residual: str | None = None,
    keep_fp: Sequence[str] = (),
    remainder: str | None = None,
    per_tensor: bool = False,
    allow_val: bool = False,
    eval_data: str | Path | None = None,
    allow_overlap: bool = False,
    eval_limit: int | None = None,
    max_drop: float | None = None,
    keep_rejected: bool = False,
    waterfall: bool = False,
    sensitivity: bool = False,
    trt_cache: str | None = None,
    backend: str = "auto",
    device: str = "auto",
    target: str = "local",
    int8_path: str = "auto",
    timing_cache: str | Path | None = None,
    workspace: float | None = None,
    opt_level: int | None = None,
    aux_streams: int | None = None,
    tf32: bool = True,
) -> Exported:
    """Export a net to an ONNX file or a TensorRT engine that describes itself and agrees with its original.

    Args:
        model: a variant ("hrnet_w18"), a zoo name ("hrnet_w18.ms_in1k") or a foreign .onnx file; None for the variant
            found in the weights, else hrnet_w18.
        weights: a checkpoint file, URL or zoo name, or "random"; None for the variant's first zoo weights.
        precision: "fp32", "fp16" (FP16 graph, FP32 input and output) or "int8" (Q/DQ graph); None for "fp32", or what
            an .onnx file made here already has.
        output: the .onnx or .engine file to write; None for `<variant>_<precision>.onnx` in the current folder.
        format: "onnx" or "engine", where `output` does not say it.
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
        calib_data: folder of images to calibrate INT8 on, or to measure FP16's ranges; None for $HRNET_CALIB_DATA.
        calib_images: how many, balanced over classes; others are set aside to judge the result.
        calib_method: "entropy", "percentile", "minmax", "mse", or "auto" for the best of them on held-out images.
        calib_cache: the calibration table; None for OUTPUT.calib.json. Used again where everything is the same.
        qdq_target: "cpu" (ONNX Runtime, OpenVINO) or "tensorrt"; None for the one the output is for.
        residual: what sums read in a graph for TensorRT: "int8" (one operand in INT8, which is added inside an INT8
            convolution) or "float" (the values themselves); None for "float".
        keep_fp: blocks ("stage4.fuse"), nodes or patterns that stay in floating point; "auto" for as many of the most
            sensitive blocks as it takes; "none" for nothing but what is named beside it, which is fastest.
        remainder: "fp32", or "fp16" for what a graph for TensorRT does not compute in INT8; None for "fp16" in an
            engine, else "fp32".
        per_tensor: one weight scale per layer instead of one per output channel.
        allow_val: calibrate on a split for evaluation.
        eval_data: folder of other images that judge the result; None to set some of the calibration folder's aside.
        allow_overlap: let an image be in both folders.
        eval_limit: how many of `eval_data` a budget or a waterfall is measured on, spread evenly; None for all.
        max_drop: most percentage points of top-1 or mIoU to lose against the float32 graph on the labelled images in
            `eval_data`; beyond it the most sensitive blocks move to floating point, as few as it takes. An engine that
            opens on this machine is measured itself; else its graph on the CPU predicts it.
        keep_rejected: write an artefact that loses more all the same; the error is raised afterwards.
        waterfall: measure on `eval_data` what each step from the checkpoint to the artefact loses.
        sensitivity: measure what each block alone loses in INT8.
        trt_cache: a TensorRT version, 8.6 to 10.x, whose entropy calibrator can read the same table in OUTPUT.cache.
        backend: "tensorrt", "tensorrt-rtx", or "auto" for the one installed; of an engine, as all that follows.
        device: "cuda:N", the GPU that builds; "auto" for the first.
        target: "local" for this machine's GPU; with TensorRT-RTX also others, such as "sm86,sm89" or "t4".
        int8_path: "implicit" (entropy calibrator, TensorRT 8.6 to 10), "qdq", or "auto" for the first that there is.
        timing_cache: file of measured kernels; None for one per GPU and version in the cache folder.
        workspace: most scratch memory of a kernel, in GiB.
        opt_level: 0 (fast build) to 5 (fast engine); None for TensorRT's own.
        aux_streams: streams for HRNet's parallel branches; None for TensorRT's own choice.
        tf32: let FP32 convolutions use tensor cores, which round their inputs to 10 bits.

    Returns:
        The artefact and what was measured (`export`: only its path).

    Raises:
        UsageError: arguments that cannot be used.
        CheckpointError: weights that cannot be read or do not fit.
        DownloadError: zoo weights that cannot be fetched.
        ExportError: a conversion failed.
        ImageError: calibration images that cannot be used.
        VerificationError: the artefact is too far from its original; nothing is left behind.
        GateMissedError: a VerificationError; it loses more than `max_drop`, whatever is kept in floating point.
        MissingDependencyError: the export extra, or TensorRT, is not installed.
        BuildError: TensorRT refused to build.
        DeviceError: this TensorRT builds on a GPU only, and there is none.
    """
    rebuild = command_line("hrnet-export", export_artifact, locals())
    wishes = Wishes(
        precision=precision or "fp32",
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
            keep_fp=(keep_fp,) if isinstance(keep_fp, str) else tuple(keep_fp),
            per_channel=not per_tensor,
            allow_val=allow_val,
            evaluation=eval_data,
            allow_overlap=allow_overlap,
            sensitivity=sensitivity,
            trt_cache=trt_cache,
        ),
        qdq_target=qdq_target,
        residual=residual,
        remainder=remainder,
        format=format,
        engine=EngineWishes(
            backend=backend,
            device=device,
            target=target,
            int8_path=int8_path,
            timing_cache=timing_cache,
            workspace=workspace,
            opt_level=opt_level,
            aux_streams=aux_streams,
            tf32=tf32,
        ),
        budget=BudgetWishes(
            max_drop=max_drop, data=eval_data, limit=eval_limit, keep_rejected=keep_rejected, waterfall=waterfall
        ),
    )
    card = own_card(Path(model)) if model is not None and model.endswith(".onnx") else None
    if card is not None and wants_engine(wishes) and precision in {None, card.precision.value}:
        refuse_budget(wishes.budget)
        with Steps() as step:
            return compile_file(Path(str(model)), card, wishes, step, rebuild)
    early = check_early(wishes)
    with Steps() as step:
        step("loading")
        origin = open_origin(model, weights, task=task, num_classes=num_classes, ema=ema, opset=early.opset)
        facts = origin.facts
        plan = make_plan(wishes, early, facts)
        step("running the original")
        probes = make_probes(plan.preprocessing, plan.shapes, origin.reference)
        step("tracing")
        graph = origin.graph(plan.shapes, plan.opset)
        del origin  # its weights need not be in memory twice
        step("setting the precision")
        finisher = Finisher(graph, plan, facts, probes)
        done = deliver(finisher, plan, facts, step, rebuild)
    if done.verdict is not None and not done.verdict.fits:
        raise GateMissedError(done.verdict, done.path)
    if not waterfall or eval_data is None:
        return done
    found = measure_waterfall(
        [done.path],
        eval_data,
        model=model,
        weights=weights,
        task=task,
        ema=ema,
        limit=eval_limit,
        device="cpu",
        backend="onnxruntime",
    )
    return dataclasses.replace(done, waterfall=found)


def _path_of(exporting: Callable[_P, Exported]) -> Callable[_P, Path]:
    """The same function with the same signature, but only the path comes back."""

    @functools.wraps(exporting)
    def export(*args: _P.args, **options: _P.kwargs) -> Path:
        return exporting(*args, **options).path

    export.__name__ = export.__qualname__ = "export"
    return export


export = _path_of(export_artifact)
"""`export_artifact`, returning the path: `export("hrnet_w18", weights="w18.pth", precision="fp16")`."""
