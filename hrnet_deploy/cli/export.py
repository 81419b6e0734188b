"""hrnet-export: a checkpoint, or a foreign ONNX file, to a verified artefact."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from hrnet_deploy.cli.console import launch, next_command, parser, print_json, print_message
from hrnet_deploy.models.zoo import named_entry
from hrnet_deploy.spec import Interpolation, OutputKind, Precision, Resize, Task

_FILES = (".onnx", ".engine")

if TYPE_CHECKING:
    from hrnet_deploy.export import ExportResult
    from hrnet_deploy.export.engine.build import BuiltEngine
    from hrnet_deploy.quantization_info import QuantizationInfo

_USAGE = (
    "usage: hrnet-export [MODEL|FILE.onnx] [--weights SRC] [--precision {fp32,fp16,int8}] [-o OUT.onnx|OUT.engine] ..."
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: the arguments; None for the process's own.

    Returns:
        One attribute per flag.
    """
    p = parser(
        "hrnet-export",
        "Export an HRNet checkpoint to an ONNX file or TensorRT engine that is checked against the original.",
    )
    p.add_argument("model", nargs="?", metavar="MODEL|FILE.onnx", help="variant, zoo name or foreign ONNX file")
    p.add_argument("--weights", metavar="SRC", help="checkpoint file, URL, zoo name, or 'random' to measure speed")
    p.add_argument(
        "--precision",
        metavar="{fp32,fp16,int8}",
        help="arithmetic written into the graph (default: fp32, or the file's own)",
    )
    p.add_argument(
        "-o",
        "--output",
        action="append",
        metavar="OUT.onnx|OUT.engine",
        help="file to write (default: VARIANT_PRECISION.onnx)",
    )
    p.add_argument("--graph-output", metavar="NAME", help="which output of a foreign ONNX file holds the scores")
    p.add_argument("--format", metavar="{onnx,engine}", help="kind of file, where -o does not say it")
    p.add_argument("--imgsz", metavar="H[xW]", help="image size; MIN:OPT:MAX or 'dynamic' for open sizes")
    p.add_argument("--batch", metavar="N|MIN:OPT:MAX", help="batch size (default: open, 1 to 16)")
    p.add_argument("--opset", type=int, metavar="N", help="ONNX opset (default: 20, or a foreign file's own)")
    p.add_argument("--no-simplify", dest="simplify", action="store_false", help="leave the traced graph as it is")
    p.add_argument(
        "--pixels-in", nargs="?", const=True, default=False, metavar="bgr|rgb", help="take uint8 (N, H, W, 3) pixels"
    )
    p.add_argument(
        "--labels-out", nargs="?", const=True, default=False, metavar="topk|softmax", help="answer inside the graph"
    )
    p.add_argument("--num-classes", type=int, metavar="N", help="classes of random weights, or a check of the file's")
    p.add_argument(
        "--classes", type=_classes, metavar="FILE", help="class names: one a line, numbered, a table or JSON"
    )
    p.add_argument("--threshold", type=float, metavar="P", help="probability above which one output channel means yes")
    p.add_argument("--ema", action="store_true", help="take the averaged copy of the weights")
    p.add_argument("--weights-key", metavar="NAME", help="where in the checkpoint the net lies, if there are several")
    p.add_argument("--inplace-abn", action="store_true", help="its batch norms are InPlaceABN's: |weight| + 1e-5")
    int8 = p.add_argument_group("INT8")
    int8.add_argument("--calib-data", metavar="DIR", help="images to calibrate on (default: $HRNET_CALIB_DATA)")
    int8.add_argument("--calib-images", type=int, metavar="N", help="how many (default: 512)")
    int8.add_argument("--calib-method", metavar="{entropy,minmax,percentile,mse,auto}", help="default: entropy")
    int8.add_argument("--calib-cache", metavar="FILE", help="calibration table (default: OUT.calib.json)")
    int8.add_argument("--qdq-target", metavar="{cpu,tensorrt}", help="whose kernels (default: the output's)")
    int8.add_argument("--residual", metavar="{int8,float}", help="of sums in a graph for TensorRT (default: float)")
    int8.add_argument(
        "--keep-fp", action="extend", type=_listed, metavar="NAME,NAME", help="blocks left in float; auto or none"
    )
    int8.add_argument(
        "--remainder", metavar="{fp32,fp16}", help="of a graph for TensorRT (default: fp16 in an engine, else fp32)"
    )
    int8.add_argument("--per-tensor", action="store_true", help="one weight scale per layer")
    int8.add_argument("--allow-val", action="store_true", help="calibrate on a split for evaluation")
    int8.add_argument("--trt-cache", metavar="VERSION", help="also write OUT.cache for TensorRT 8.6 to 10.x")
    int8.add_argument("--sensitivity", action="store_true", help="measure what each block alone loses in INT8")
    gate = p.add_argument_group("accuracy")
    gate.add_argument(
        "--eval-data", metavar="DIR", help="other images that judge INT8 and FP16 (default: some are set aside)"
    )
    gate.add_argument("--eval-limit", type=int, metavar="N", help="how many --max-drop and --waterfall use (all)")
    gate.add_argument("--allow-overlap", action="store_true", help="let an image also be a calibration image")
    gate.add_argument(
        "--max-drop",
        type=float,
        metavar="PP",
        help="points of top-1 or mIoU to lose at most on labelled --eval-data; more moves blocks to float, or exits 3",
    )
    gate.add_argument(
        "--keep-rejected",
        action="store_true",
        help="write the artefact even where it loses more than --max-drop, or, without that, fp16 or int8 keeps less "
        "than 90 %% of the answers on its validation images; the exit code stays 3",
    )
    gate.add_argument("--waterfall", action="store_true", help="measure what each step from the checkpoint on loses")
    engine = p.add_argument_group("TensorRT engines")
    engine.add_argument("--backend", metavar="{auto,tensorrt,tensorrt-rtx}", help="default: installed")
    engine.add_argument("--device", metavar="cuda:N", help="GPU that builds (default: the first)")
    engine.add_argument("--target", metavar="local|sm86,...", help="GPUs to build for (RTX: any)")
    engine.add_argument("--int8-path", metavar="{auto,implicit,qdq}", help="TensorRT 8.6 to 10")
    engine.add_argument("--timing-cache", metavar="FILE", help="measured kernels (default: one per GPU and version)")
    engine.add_argument("--workspace", type=float, metavar="GIB", help="scratch memory of a kernel at most")
    engine.add_argument("--opt-level", type=int, metavar="0..5", help="build time against speed")
    engine.add_argument("--aux-streams", type=int, metavar="N", help="streams for parallel branches")
    engine.add_argument("--no-tf32", dest="tf32", action="store_false", help="full FP32 convolutions")
    card = p.add_argument_group("overrides of the model card")
    card.add_argument("--task", metavar="{" + ",".join(t.value for t in Task) + "}", help="of a foreign ONNX file")
    card.add_argument(
        "--preprocessing",
        metavar="{official,timm,mmpretrain,paddle}|FILE.onnx",
        help="how images are prepared (default: the file's own)",
    )
    card.add_argument("--resize", metavar="{" + ",".join(r.value for r in Resize) + "}")
    card.add_argument("--crop-pct", type=float, metavar="F", help="centre crop fraction in (0, 1]")
    card.add_argument("--interpolation", metavar="{" + ",".join(i.value for i in Interpolation) + "}")
    card.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="on a 0..1 scale")
    card.add_argument("--std", type=float, nargs=3, metavar=("R", "G", "B"), help="on a 0..1 scale")
    card.add_argument(
        "--align-corners",
        action=argparse.BooleanOptionalAction,
        help="how a segmentation net resizes: HRNetV2 everywhere, a foreign one its logits (default: as its files say)",
    )
    args = p.parse_args(argv)
    _split_outputs(args)
    return args


def _split_outputs(args: argparse.Namespace) -> None:
    """--output is the file to write; given once more, or without a file's ending, it names an output of the graph."""
    files = [text for text in args.output or () if text.endswith(_FILES)]
    names = [text for text in args.output or () if not text.endswith(_FILES)]
    foreign = str(args.model).endswith(".onnx")
    if names and foreign and args.graph_output is None:
        args.graph_output = names.pop()
    args.output = (names or files or [None])[-1]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _classes(text: str) -> str | list[str]:
    """A file, or the list that a recorded command holds."""
    if not text.startswith("["):
        return text
    try:
        names: list[str] = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a file or a JSON list of names, got {text!r:.80}") from error
    return names


def run(args: argparse.Namespace) -> int:
    """Export and report.

    Args:
        args: from `parse_args`.

    Returns:
        0.

    Raises:
        HrnetDeployError: one line each; a gate that was missed has shown its table before.
    """
    from hrnet_deploy.export import AccuracyGateError, export_artifact

    if args.model is None and args.weights is None:
        print(_USAGE, file=sys.stderr)  # what is missing is said by the error that follows
    options = {k: v for k, v in vars(args).items() if k not in {"json", "verbose", "quiet", "model"}}
    began = time.perf_counter()
    try:
        done = export_artifact(args.model, **options)
    except AccuracyGateError as error:
        if args.json:
            print_json({"path": None if error.path is None else str(error.path), "gate": error.verdict.to_dict()})
        print_message(args, str(error.verdict))
        raise
    seconds = time.perf_counter() - began
    if args.json:
        print_json(_record(done, seconds))
    else:
        print(done.path)
    print_message(args, _summary(done, seconds))
    next_command(args, "hrnet-predict", done.path, "IMAGE", "--save", "out")
    return 0


def main() -> int:
    """Entry point."""
    return launch("hrnet-export", parse_args, run)


def _record(done: ExportResult, seconds: float) -> dict[str, object]:
    card, record = done.card, done.card.to_record()
    return {
        "path": str(done.path),
        "variant": card.variant,
        "task": card.task.value,
        "precision": card.precision.value,
        "opset": card.opset,
        "classes": len(card.classes),
        "inputs": [[s.name, s.dtype, list(s.shape)] for s in card.inputs],
        "outputs": [[s.name, s.dtype, list(s.shape)] for s in card.outputs],
        "nodes": done.nodes,
        "size_bytes": done.size_bytes,
        "measured": record["measured"],
        "kept_fp32": list(done.kept_fp32),
        "underflowed_weights": done.underflowed,
        "sensitivity": {block: asdict(score) for block, score in done.sensitivity.items()},
        "quantization": record.get("quantization"),
        "lineage": record["lineage"],
        "floor": None if done.agreement is None else done.agreement.floor,
        "gate": None if done.verdict is None else done.verdict.to_dict(),
        "waterfall": None if done.waterfall is None else done.waterfall.to_dict(),
        "engine": None if done.engine is None else _engine_record(done.engine),
        "seconds": round(seconds, 2),
    }


def _summary(done: ExportResult, seconds: float) -> str:
    card, found = done.card, done.difference
    title = (
        f"{card.variant} {card.precision.value}, {len(card.classes)} classes, opset {card.opset}, {done.nodes} nodes, "
        f"{done.size_bytes / 2**20:.1f} MiB, {seconds:.1f} s"
    )
    lines = [
        title,
        *_weights_lines(card.lineage),
        *(f"  {spec.name}: {spec.dtype} {_shape(spec.shape)}" for spec in (*card.inputs, *card.outputs)),
    ]
    if found is None:
        lines.append(f"  compiled as it is; measured when it was exported: {_measured(card.to_record()['measured'])}")
    elif card.quantization is not None:
        lines.extend(_int8_lines(done, card.quantization))
    elif card.output_kind is OutputKind.LABELS:
        lines.append(f"  against the original: {found.agreement:.3%} of pixels equal")
    else:
        lines.append(
            f"  against the original: max abs error {found.max_abs:.2e}, max rel error {found.max_rel:.2e} "
            f"(of the spread), {found.agreement:.2%} of answers equal"
        )
    if done.agreement is not None and card.precision is not Precision.INT8:
        lines.append(f"  against fp32 on {done.agreement.images} of your images: {done.agreement}")
    if done.underflowed:
        lines.append(f"  {done.underflowed} weights became zero in half precision")
    if done.kept_fp32:
        lines.append(f"  {len(done.kept_fp32)} nodes stay in fp32: {', '.join(done.kept_fp32[:3])} ...")
    if done.engine is not None:
        lines.extend(_engine_lines(done.engine, card.precision.value))
    lines.extend(str(found) for found in (done.verdict, done.waterfall) if found is not None)
    return "\n".join(lines)


def _weights_lines(lineage: Mapping[str, str]) -> Iterator[str]:
    """Which weights a name or a URL stood for; of a graph its own export said so."""
    entry = named_entry(lineage.get("zoo", ""))
    if "graph" in lineage or (entry is None and "weights_url" not in lineage):
        return
    who = "" if entry is None else f"{entry.name}, published by {entry.source}: "
    known = f" (the publisher's begins with {entry.digest})" if entry is not None and entry.digest else ""
    where = lineage.get("weights_url", lineage["weights"])
    yield f"  weights: {who}{where}, SHA-256 {lineage['weights_sha256']}{known}"


def _engine_record(built: BuiltEngine) -> dict[str, object]:
    facts = built.facts
    return {
        "backend": facts.flavour,
        "version": facts.version,
        "capabilities": list(facts.capabilities),
        "gpu": facts.gpu,
        "convolutions": built.asked,
        "in_precision": built.reached,
        "int8_throughout": built.int8_throughout,
        "parity": None if built.parity is None else asdict(built.parity),
        "build_seconds": round(built.seconds, 2),
        "rebuild": facts.rebuild,
    }


def _engine_lines(built: BuiltEngine, precision: str) -> Iterator[str]:
    facts, found = built.facts, built.parity
    where = facts.gpu or "no GPU needed"
    yield f"  {facts.flavour} {facts.version} for {', '.join(facts.capabilities)} ({where}), {built.seconds:.1f} s"
    if built.reached is None:
        yield "  precision of the convolutions: not told by this TensorRT"
    else:
        written = f", {built.int8_throughout} of them write int8, too" if precision == Precision.INT8.value else ""
        yield f"  {built.reached} of {built.asked} convolutions run in {precision}{written}"
    if found is None:
        yield "  on the GPU: not compared, for it is not here; what is said of answers is of the graph on the CPU"
    else:
        yield f"  on the GPU: {found.agreement:.2%} of answers as ONNX Runtime's, max rel error {found.max_rel:.2e}"


def _int8_lines(done: ExportResult, info: QuantizationInfo) -> Iterator[str]:
    yield (
        f"  {info.method} calibration on {info.images} images, for {info.target.value}; "
        f"floating point: {','.join(info.kept_in_float) or 'what the recipe keeps'}"
    )
    if info.implicit:
        yield "  TensorRT quantises by itself, with these ranges; the figures below are of the same net with Q/DQ pairs"
    for method, divergence in info.method_divergence.items():
        yield f"  {method:<12}divergence {divergence:.5f} (least is best)"
    if info.validation is not None:
        found = info.validation
        yield (
            f"  against fp32 on {info.validation_images} held-out images: "
            f"{done.agreement or f'{found.agreement:.3%} of answers equal'}, worst image {found.worst:.2%}, "
            f"SQNR {found.sqnr_db:.1f} dB"
        )
    for block, score in done.sensitivity.items():
        yield f"  {block:<18}alone in INT8: {score.agreement:.3%} equal, SQNR {score.sqnr_db:.1f} dB"


def _measured(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items() if "agreement" in name) or "nothing"


def _shape(shape: tuple[int | str, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
