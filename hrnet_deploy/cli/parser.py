"""The argument parser of all commands, their common flags, and numbers with limits."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from hrnet_deploy import limits
from hrnet_deploy.cli.console import print_error, print_lines, print_result
from hrnet_deploy.errors import UsageError, one_line
from hrnet_deploy.version import VERSION

_Number = TypeVar("_Number", int, float)


class Parser(argparse.ArgumentParser):
    """An argument parser that prints through the console, and whose errors are one line and exit with 2."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments; refuse empty ones, which as paths would mean the current folder."""
        found, left = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(found, action.dest, None)
            values = value if isinstance(value, list) else [value]
            if any(isinstance(one, str) and not one.strip() for one in values):
                name = "/".join(action.option_strings) or action.metavar or action.dest
                self.error(f"argument {name}: must not be empty. Is a variable unset?")
        return found, left

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        print_error(self.prog, f"{one_line(message, 500)} (see {self.prog} --help)")
        raise SystemExit(2)

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help on stdout, or usage on stderr."""
        show = print_result if file is sys.stdout else print_lines
        show(*message.rstrip("\n").split("\n"))


def parser(prog: str, description: str) -> Parser:
    """Create a parser with the flags of every command: --version, --json, -v, -q."""
    result = Parser(prog=prog, description=description)
    vars(result)["color"] = False  # since Python 3.14 help is colored, and its colors would be escaped
    result.add_argument("--version", action="version", version=f"{prog} {VERSION}")
    result.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    noise = result.add_mutually_exclusive_group()
    noise.add_argument("-v", "--verbose", action="store_true", help="log details; show a traceback on error")
    noise.add_argument(
        "-q", "--quiet", action="store_true", help="print no messages, warnings or progress; only errors"
    )
    return result


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Create the type of a flag's whole number.

    Args:
        low: smallest value.
        high: largest value.

    Returns:
        A function that argparse calls; its error names the limits.
    """
    return _between(int, low, high, f"a whole number from {low} to {high}")


def number(low: float, high: float) -> Callable[[str], float]:
    """Create the type of a flag's number, as `whole_number`; infinity and NaN are refused."""
    return _between(float, low, high, f"a number from {low:g} to {high:g}")


def _between(convert: Callable[[str], _Number], low: _Number, high: _Number, wanted: str) -> Callable[[str], _Number]:
    """Create the type of a number within limits."""

    def read(text: str) -> _Number:
        with contextlib.suppress(ValueError):
            if low <= (value := convert(text)) <= high:
                return value
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r:.60}")

    return read


THREADS = whole_number(1, limits.THREADS)
"""Type of --threads."""
BATCH = whole_number(1, limits.BATCH)
"""Type of --batch where it is one number."""
STREAMS = whole_number(1, limits.STREAMS)
"""Type of --streams."""
TOPK = whole_number(1, limits.CLASSES)
"""Type of --topk."""
LABEL_VALUE = whole_number(0, 65535)
"""Type of a value in a label image."""
IMAGES = whole_number(1, limits.DATASET_IMAGES)
"""Type of a number of images."""
SECONDS = number(0, limits.SECONDS)
"""Type of a time."""


def add_runtime_flags(arguments: argparse.ArgumentParser) -> None:
    """Add the flags that select the runtime: --device, --backend, --threads."""
    arguments.add_argument("--device", default="auto", metavar="D", help="cpu, cuda, cuda:N or auto (default: auto)")
    arguments.add_argument(
        "--backend", default="auto", metavar="B", help="onnxruntime, openvino, tensorrt ... or auto (default: auto)"
    )
    arguments.add_argument(
        "--threads", type=THREADS, metavar="N", help="CPU threads for one inference (default: all cores)"
    )


def add_executor_flag(arguments: argparse.ArgumentParser) -> None:
    """Add --executor."""
    arguments.add_argument(
        "--executor",
        metavar="E",
        help="where the images run: processes:N, ray://HOST:PORT, ray://local or dask://HOST:PORT (default: here)",
    )


def add_special_flag(arguments: argparse.ArgumentParser) -> None:
    """Add --allow-special, for commands that read the user's files."""
    arguments.add_argument(
        "--allow-special", action="store_true", help="also read pipes, devices and sockets, up to the limit of a file"
    )


def check_strict(args: argparse.Namespace) -> None:
    """Refuse --strict where other machines decode: their native lines are not captured."""
    if args.strict and args.executor is not None and not args.executor.startswith("processes:"):
        raise UsageError(f"--strict applies on this machine only, got --executor {args.executor}. Leave one out.")


def add_strict_flag(arguments: argparse.ArgumentParser) -> None:
    """Add --strict, for commands that decode images."""
    arguments.add_argument(
        "--strict", action="store_true", help="refuse images whose data is damaged, not only warn about them"
    )
