"""hrnet-export: from a checkpoint, or a foreign ONNX file, to a verified artifact."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from hrnet_deploy.cli.console import next_command, print_json, print_lines, print_message, print_result
from hrnet_deploy.cli.export_summary import result_record, result_summary
from hrnet_deploy.cli.launch import launch
from hrnet_deploy.cli.parser import add_special_flag, add_strict_flag, check_strict, parser
from hrnet_deploy.export import option_values
from hrnet_deploy.export.option_declaration import Declaration, flag
from hrnet_deploy.export.options import declarations
from hrnet_deploy.json_text import parse_json

_FILES = (".onnx", ".engine")

_USAGE = """hrnet-export [MODEL|FILE.onnx] [--weights SRC]
                    [--precision {fp32,fp16,int8}]
                    [-o OUT.onnx|OUT.engine] [option ...]"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; attributes of an export are named as in `ExportOptions`."""
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
    add_special_flag(p)
    add_strict_flag(p)
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
        names: list[str] = parse_json(text)
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
    """Export, and report what was measured; a missed accuracy gate shows its table before its error."""
    from hrnet_deploy.export import AccuracyGateError, export

    if args.model is None and args.weights is None:
        print_lines(*f"usage: {_USAGE}".split("\n"))  # the error that follows names what is missing
    check_strict(args)
    options = {field.name: getattr(args, field.name) for field, _ in declarations()}
    began = time.perf_counter()
    try:
        done = export(**options)
    except AccuracyGateError as error:
        if args.json:
            print_json({"path": None if error.path is None else str(error.path), "gate": error.verdict.to_dict()})
        print_message(args, *str(error.verdict).split("\n"))
        raise
    seconds = time.perf_counter() - began
    if args.json:
        print_json(result_record(done, seconds))
    else:
        print_result(str(done.path))
    print_message(args, *result_summary(done, seconds))
    if done.triton is not None:
        next_command(args, "tritonserver", "--model-repository", done.triton.path.parent)
        return 0
    out = ("--features", "out.npz") if done.card.headless else ("--save", "out")
    next_command(args, "hrnet-predict", done.path, "IMAGE", *out)
    return 0


def main() -> int:
    """Run hrnet-export."""
    return launch("hrnet-export", parse_args, run)
