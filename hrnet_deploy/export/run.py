"""Export: load, trace, simplify, set the precision, describe, write, verify."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec

from hrnet_deploy.export.accuracy_waterfall import measure_waterfall
from hrnet_deploy.export.agreement import AgreementError
from hrnet_deploy.export.applies import Case, check_applies, given_names, typed_call
from hrnet_deploy.export.command import command_line
from hrnet_deploy.export.engine.from_onnx import compile_file
from hrnet_deploy.export.engine.plan import LOCAL, EngineWishes
from hrnet_deploy.export.gate.accuracy_target import AccuracyWishes, check_budget, refuse_budget
from hrnet_deploy.export.gate.result import AccuracyGateError
from hrnet_deploy.export.info import RANDOM
from hrnet_deploy.export.plan import check_early, make_plan, precision_of, wants_engine
from hrnet_deploy.export.progress import ExportProgress
from hrnet_deploy.export.publish import ExportResult, publish
from hrnet_deploy.export.quantize.calibrate import named_folder
from hrnet_deploy.export.quantize.converter import make_converter
from hrnet_deploy.export.reading import Reading
from hrnet_deploy.export.shapes import HeightWidth
from hrnet_deploy.export.source import open_source, read_card
from hrnet_deploy.export.verify import make_reference_batches
from hrnet_deploy.export.wishes import Int8Wishes, Wishes
from hrnet_deploy.spec import ModelCard, Precision

_P = ParamSpec("_P")


@typed_call
def export_artifact(
    model: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    precision: str | None = None,
    output: str | Path | None = None,
    graph_output: str | None = None,
    format: str | None = None,  # noqa: A002  # the flag's name
    imgsz: str | int | HeightWidth | None = None,
    batch: str | int | None = None,
    opset: int | None = None,
    simplify: bool = True,
    pixels_in: bool | str = False,
    labels_out: bool | str = False,
    align_corners: bool | None = None,
    num_classes: int | None = None,
    classes: str | Path | Sequence[str] | None = None,
    threshold: float | None = None,
    task: str | None = None,
    ema: bool = False,
    weights_key: str | None = None,
    inplace_abn: bool = False,
    preprocessing: str | Path | None = None,
    resize: str | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    calib_data: str | Path | None = None,
    calib_images: int | None = None,
    calib_method: str | None = None,
    calib_cache: str | Path | None = None,
    qdq_target: str | None = None,
    residual: str | None = None,
    keep_fp: str | Sequence[str] = (),
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
    backend: str | None = None,
    device: str | None = None,
    target: str | None = None,
    int8_path: str | None = None,
    timing_cache: str | Path | None = None,
    workspace: float | None = None,
    opt_level: int | None = None,
    aux_streams: int | None = None,
    tf32: bool = True,
) -> ExportResult:
    """Export a net to an ONNX file or a TensorRT engine that describes itself and agrees with its original.

    Args:
        model: a variant ("hrnet_w18"), a zoo name ("hrnet_w18.ms_in1k", or its publisher's, "HRNet_W18_C") or a foreign
            .onnx file; None for the variant found in the weights.
        weights: a checkpoint file, URL or zoo name, or "random"; None for the zoo weights that the model names; of a
            variant one that downloads, if possible with a known digest.
        precision: "fp32", "fp16" (FP16 graph, FP32 input and output) or "int8" (Q/DQ graph); None for "fp32", or what
            an .onnx file made here already has.
        output: the .onnx or .engine file to write; None for `<variant>_<precision>.onnx` in the current folder.
        graph_output: the output of a foreign .onnx that holds the scores, where it has more than one.
        format: "onnx" or "engine", where `output` does not say it.
        imgsz: H, (H, W) or "HxW" in pixels: fixed; "MIN:OPT:MAX" or "dynamic": open; None: the net's own, fixed.
        batch: N: fixed; "MIN:OPT:MAX": open; None: open, 1 to 16.
        opset: ONNX opset; None for 20, or a foreign file's own.
        simplify: fold and prune the graph.
        pixels_in: take uint8 (N, H, W, 3) and normalise inside; True or "bgr" for OpenCV's order, or "rgb".
        labels_out: answer inside the graph; segmentation: uint8 label map at input size; classification: True or "topk"
            for the five best, "softmax" for all probabilities.
        align_corners: how a segmentation net resizes: a foreign one its logits, HRNetV2 everything. None for what the
            checkpoint or a yaml beside it says, else False (pytorch-v1.1; the HRNet-OCR branch trains with True).
        num_classes: classes of random weights; else checked against the file.
        classes: class names, or a file of them (one a line, numbered, a table or JSON); None for those in the
            checkpoint, else ImageNet's or Cityscapes'.
        threshold: of a net with one output channel, the probability above which the second class is meant; None for
            0.5, or what mmsegmentation's configuration in the checkpoint says (else 0.3, its default).
        task: "classification" or "segmentation", for a foreign .onnx.
        ema: take the averaged copy of the weights where the checkpoint has one.
        weights_key: where in the checkpoint the net lies, if there are several, such as "state_dict.student".
        inplace_abn: the checkpoint's batch norms are InPlaceABN's, which scale by |weight| + 1e-5.
        preprocessing: whose preparation of images to take instead of the net's own: "official", "timm", "mmpretrain",
            "paddle", or an artefact made here, whose card says it. What follows overrides single fields.
        resize: overrides the card: "short-side", "squash", "long-side" or "none".
        crop_pct: overrides the card: centre crop fraction in (0, 1].
        interpolation: overrides the card: "bilinear", "bicubic" or "opencv-linear".
        mean: overrides the card: three numbers on a 0..1 scale.
        std: overrides the card: likewise.
        calib_data: folder of images to calibrate INT8 on, or to measure FP16's ranges; None for $HRNET_CALIB_DATA.
        calib_images: how many, balanced over classes; None for 512; others are set aside to judge the result.
        calib_method: "entropy" (None), "percentile", "minmax", "mse", or "auto" for the best on held-out images.
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
        keep_rejected: write an artefact that loses more, or without a budget keeps less than 90 % of the answers on
            its validation images, all the same; the error is raised afterwards.
        waterfall: measure on `eval_data` what each step from the checkpoint to the artefact loses.
        sensitivity: measure what each block alone loses in INT8.
        trt_cache: a TensorRT version, 8.6 to 10.x, whose entropy calibrator can read the same table in OUTPUT.cache.
        backend: "tensorrt", "tensorrt-rtx", or None for the one installed; of an engine, as all that follows.
        device: "cuda:N", the GPU that builds; None for the first.
        target: None for this machine's GPU; with TensorRT-RTX also others, such as "sm86,sm89" or "t4".
        int8_path: "implicit" (entropy calibrator, TensorRT 8.6 to 10), "qdq", or None for the first that there is.
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
        AgreementError: a VerificationError; FP16 or INT8 keeps less than 90 % of the answers on its validation images.
        GateMissedError: a VerificationError; it loses more than `max_drop`, whatever is kept in floating point.
        MissingDependencyError: the export extra, or TensorRT, is not installed.
        BuildError: TensorRT refused to build.
        DeviceError: this TensorRT builds on a GPU only, and there is none.
    """
    values = dict(locals())
    rebuild = command_line("hrnet-export", export_artifact, values)
    wishes = Wishes(
        precision=precision or "fp32",
        output=output,
        imgsz=imgsz,
        batch=batch,
        opset=opset,
        simplify=simplify,
        pixels_in=pixels_in,
        labels_out=labels_out,
        classes=classes,
        preprocessing=preprocessing,
        threshold=threshold,
        resize=resize,
        crop_pct=crop_pct,
        interpolation=interpolation,
        mean=mean,
        std=std,
        int8=Int8Wishes(
            data=calib_data,
            images=512 if calib_images is None else calib_images,
            method=calib_method or "entropy",
            cache=calib_cache,
            keep_fp=tuple(keep_fp),
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
            backend=backend or "auto",
            device=device or "auto",
            target=target or LOCAL,
            int8_path=int8_path or "auto",
            timing_cache=timing_cache,
            workspace=workspace,
            opt_level=opt_level,
            aux_streams=aux_streams,
            tf32=tf32,
        ),
        budget=AccuracyWishes(
            max_drop=max_drop, data=eval_data, limit=eval_limit, keep_rejected=keep_rejected, waterfall=waterfall
        ),
    )
    reading = Reading(ema=ema, weights_key=weights_key, align_corners=align_corners, inplace_abn=inplace_abn)
    source = None if model is None else str(model)
    card = read_card(Path(source)) if source is not None and source.endswith(".onnx") else None
    case = _case(values, wishes, card)
    if not case.as_is:
        check_budget(wishes.budget, Precision(case.precision))
    check_applies(values, case)
    if card is not None and case.as_is:
        refuse_budget(wishes.budget)
        reading.refuse_for(str(model), "is compiled as it is")
        with ExportProgress() as step:
            return compile_file(Path(str(source)), card, wishes, step, rebuild)
    early = check_early(wishes)
    with ExportProgress() as step:
        step("loading")
        origin = open_source(
            source,
            weights,
            task=task,
            num_classes=num_classes,
            reading=reading,
            opset=early.opset,
            graph_output=graph_output,
        )
        facts = origin.facts
        plan = make_plan(wishes, early, facts)
        step("running the original")
        batches = make_reference_batches(plan.preprocessing, plan.shapes, origin.reference, facts.output_kind)
        step("tracing")
        graph = origin.graph(plan.shapes, plan.opset)
        if not waterfall:
            del origin  # its weights need not be in memory twice
        step("setting the precision")
        if plan.simplify:
            from hrnet_deploy.exporters.simplify import simplify as simplify_graph

            graph = simplify_graph(graph)
        done = publish(make_converter(graph, plan, facts, batches), step, rebuild)
    if done.verdict is not None and not done.verdict.passed:
        raise AccuracyGateError(done.verdict, done.path)
    if done.agreement is not None and not done.agreement.passed:
        raise AgreementError(done.agreement, done.path)
    if not waterfall or eval_data is None:
        return done
    found = measure_waterfall(
        [done.path],
        eval_data,
        source=origin,
        limit=eval_limit,
        device="cpu",
        backend="onnxruntime",
    )
    return dataclasses.replace(done, waterfall=found)


def _case(values: Mapping[str, Any], wishes: Wishes, card: ModelCard | None) -> Case:
    """What decides which options apply."""
    engine = wants_engine(wishes)
    own = None if card is None else card.precision.value
    as_is = engine and card is not None and values["precision"] in {None, own}
    precision = str(own) if as_is else precision_of(wishes.precision).value
    return Case(
        precision=precision,
        engine=engine,
        as_is=as_is,
        graph=str(values["model"]).endswith(".onnx"),
        random=values["weights"] == RANDOM,
        images=named_folder(wishes.int8.data) is not None,
        given=given_names(values, export_artifact),
    )


def _path_of(exporting: Callable[_P, ExportResult]) -> Callable[_P, Path]:
    """The same function with the same signature, but only the path comes back."""

    @functools.wraps(exporting)
    def export(*args: _P.args, **options: _P.kwargs) -> Path:
        return exporting(*args, **options).path

    export.__name__ = export.__qualname__ = "export"
    return export


export = _path_of(export_artifact)
"""`export_artifact`, returning the path: `export("hrnet_w18", weights="w18.pth", precision="fp16")`."""
