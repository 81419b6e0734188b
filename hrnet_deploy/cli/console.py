"""The common part of all commands: shared flags, exit codes, and output.

stdout carries data only (a table, JSON); messages, progress and the next command go to stderr.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.version import VERSION


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and exit with 2."""

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
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def parser(prog: str, description: str) -> Parser:
    """Create a parser with the flags of every command: --version, --json, -v, -q."""
    result = Parser(prog=prog, description=description)
    result.add_argument("--version", action="version", version=f"{prog} {VERSION}")
    result.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    noise = result.add_mutually_exclusive_group()
    noise.add_argument("-v", "--verbose", action="store_true", help="log details; show a traceback on error")
    noise.add_argument(
        "-q", "--quiet", action="store_true", help="print no messages, warnings or progress; only errors"
    )
    return result


def add_runtime_flags(arguments: argparse.ArgumentParser) -> None:
    """Add the flags that select the runtime: --device, --backend, --threads."""
    arguments.add_argument("--device", default="auto", metavar="D", help="cpu, cuda, cuda:N or auto (default: auto)")
    arguments.add_argument(
        "--backend", default="auto", metavar="B", help="onnxruntime, openvino, tensorrt ... or auto (default: auto)"
    )
    arguments.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads for one inference (default: all cores)"
    )


def print_message(args: argparse.Namespace, text: str) -> None:
    """Print a message on stderr, unless -q is given."""
    if not args.quiet:
        print(text, file=sys.stderr)


def next_command(args: argparse.Namespace, *words: object) -> None:
    """Suggest the next command, quoted for a shell."""
    print_message(args, "Next: " + shlex.join(str(word) for word in words))


def print_json(value: Any, *, compact: bool = False) -> None:
    """Print JSON on stdout, on one line if `compact`."""
    indent = None if compact else 2
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # also for a file name that is not UTF-8; JSON has its own escapes
        text = json.dumps(value, indent=indent)
    print(text)


def launch(
    prog: str, parse: Callable[[Sequence[str] | None], argparse.Namespace], run: Callable[[argparse.Namespace], int]
) -> int:
    """Run one command and convert its errors to one line and an exit code.

    Returns 0 for success, 1 failure, 2 wrong usage or bad input, 3 a missed accuracy gate, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what the terminal cannot encode must not end the run
            stream.reconfigure(errors="backslashreplace")
    args = parse(None)
    _set_noise(prog, verbose=args.verbose, quiet=args.quiet)
    try:
        return run(args)
    except HrnetDeployError as error:
        if args.verbose:
            traceback.print_exc()
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of stdout (head, less) has exited; without this, Python reports it again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _set_noise(prog: str, *, verbose: bool, quiet: bool) -> None:
    """Set the output on stderr beside errors: everything, warnings and progress, or nothing."""
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"
        warnings.simplefilter("ignore")
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING
    origin = "%(levelname)s %(name)s" if verbose else prog
    logging.basicConfig(level=level, format=f"{origin}: %(message)s")
    if not verbose:  # OpenCV and FFmpeg log about a broken file too; the error is one line
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        if os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT") == "SILENT" and "cv2" in sys.modules:
            logs = sys.modules["cv2"].utils.logging
            logs.setLogLevel(logs.LOG_LEVEL_SILENT)
