"""hrnet-export: from a checkpoint, or a foreign ONNX file, to a verified artifact."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hrnet_deploy.cli.console import launch, next_command, parser, print_json, print_message
from hrnet_deploy.export import option_values
from hrnet_deploy.export.option_declaration import Declaration, flag
from hrnet_deploy.export.options import declarations
from hrnet_deploy.models.zoo import named_entry
from hrnet_deploy.spec import OutputKind, Precision

_FILES = (".onnx", ".engine")

if TYPE_CHECKING:
    from hrnet_deploy.export import ExportResult
    from hrnet_deploy.export.engine.build import BuiltEngine
    from hrnet_deploy.quantization_info import QuantizationInfo

_USAGE = """hrnet-export [MODEL|FILE.onnx] [--weights SRC]
                    [--precision {fp32,fp16,int8}]
                    [-o OUT.onnx|OUT.engine] [option ...]"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: the arguments; None for the process's own.

    Returns:
        One attribute per flag; those of an export are named as in `ExportOptions`.
    """
    p = parser(
        "hrnet-export",
        "Export an HRNet checkpoint to an ONNX file or a TensorRT engine that is checked against the original.",
    )
    p.usage = _USAGE
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field, declared in declarations():
        if declared.group not in groups:
            groups[declared.group] = p.add_argument_group(declared.group)
        _add_option(groups[declared.group], field.name, field.default, declared)
    args = p.parse_args(argv)
    _split_outputs(args)
    return args


def _add_option(group: argparse._ArgumentGroup, name: str, default: Any, declared: Declaration) -> None:
    """Add the flag of an option; its value becomes the option's attribute."""
    words: dict[str, Any] = {"help": declared.help.replace("%", "%%")}
    if declared.type is option_values.SWITCH:
        if default is None:
            words["action"] = argparse.BooleanOptionalAction
        elif default:
            words |= {"dest": name, "action": "store_false", "help": f"do not {words['help']}"}
        else:
            words["action"] = "store_true"
    else:
        words |= {"metavar": declared.metavar} | _PARSED.get(declared.type, {})
        if name == "output":
            words["action"] = "append"
    if name == "model":
        group.add_argument(name, nargs="?", **words)
    else:
        group.add_argument(*(["-o"] if name == "output" else []), flag(name, not default), **words)


def _split_outputs(args: argparse.Namespace) -> None:
    """Split the values of --output: the file to write, and, without the suffix of a file, an output of the graph."""
    files = [text for text in args.output or () if text.endswith(_FILES)]
    names = [text for text in args.output or () if not text.endswith(_FILES)]
    foreign = str(args.model).endswith(".onnx")
    if names and foreign and args.graph_output is None:
        args.graph_output = names.pop()
    args.output = (names or files or [None])[-1]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _classes(text: str) -> str | list[str]:
    """Read a file name, or the list of names in a recorded command."""
    if not text.startswith("["):
        return text
    try:
        names: list[str] = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a file or a JSON list of names, got {text!r:.80}") from error
    return names


_PARSED: dict[option_values.ValueType, dict[str, Any]] = {
    option_values.WHOLE_NUMBER: {"type": int},
    option_values.NUMBER: {"type": float},
    option_values.COLORS: {"type": float, "nargs": 3},
    option_values.PIXEL_MODE: {"nargs": "?", "const": True, "default": False},
    option_values.LABEL_MODE: {"nargs": "?", "const": True, "default": False},
    option_values.NAMES: {"type": _listed, "action": "extend"},
    option_values.CLASS_NAMES: {"type": _classes},
}
"""Settings of argparse for a type of values; other types are read as text."""


def run(args: argparse.Namespace) -> int:
    """Export and report.

    Args:
        args: from `parse_args`.

    Returns:
        0.

    Raises:
        HrnetDeployError: one line each; a gate that was missed has shown its table before.
    """
    from hrnet_deploy.export import AccuracyGateError, export

    if args.model is None and args.weights is None:
        print(f"usage: {_USAGE}", file=sys.stderr)  # the error that follows names what is missing
    options = {field.name: getattr(args, field.name) for field, _ in declarations()}
    began = time.perf_counter()
    try:
        done = export(**options)
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
