"""The entry points of all commands, and `python -m hrnet_deploy`, which runs one of them.

A command's module is imported after the signal handlers are in place: Ctrl-C during an import is one line, too.
"""

from __future__ import annotations

import importlib
import sys

from hrnet_deploy.cli.interruption import INTERRUPTION, own_process
from hrnet_deploy.version import VERSION

COMMANDS = {
    "export": "export a checkpoint to a verified ONNX file or TensorRT engine",
    "predict": "run an artifact on images, folders or videos",
    "models": "list the weights that have a name, with their published accuracy",
    "doctor": "show what this machine, or another GPU, can run, and what to install",
    "bench": "measure latency, throughput and memory",
    "inspect": "show what is in an artifact, and verify it",
    "report": "compare artifacts on labeled images",
    "serve": "serve artifacts over HTTP",
}
"""One line for each command; each is also installed as hrnet-NAME."""


def main() -> int:
    """Run the command that the first argument names, or list them all."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name.removeprefix("hrnet-") in COMMANDS:
        name = name.removeprefix("hrnet-")
        sys.argv[:2] = [f"hrnet-{name}"]
        return _run(name)
    from hrnet_deploy.cli.launch import launch_action

    return launch_action("hrnet_deploy", lambda: _list(name))


def export() -> int:
    """Run hrnet-export."""
    return _start("export")


def predict() -> int:
    """Run hrnet-predict."""
    return _start("predict")


def models() -> int:
    """Run hrnet-models."""
    return _start("models")


def doctor() -> int:
    """Run hrnet-doctor."""
    return _start("doctor")


def bench() -> int:
    """Run hrnet-bench."""
    return _start("bench")


def inspect() -> int:
    """Run hrnet-inspect."""
    return _start("inspect")


def report() -> int:
    """Run hrnet-report."""
    return _start("report")


def serve() -> int:
    """Run hrnet-serve."""
    return _start("serve")


def _start(name: str) -> int:
    own_process(f"hrnet-{name}")
    return _run(name)


def _run(name: str) -> int:
    INTERRUPTION.prog = f"hrnet-{name}"
    code: int = importlib.import_module(f"hrnet_deploy.cli.{name}").main()
    return code


def _list(name: str) -> int:
    """Print the commands, or the version."""
    from hrnet_deploy.cli.console import print_error, print_lines, print_result

    if name == "--version":
        print_result(f"hrnet_deploy {VERSION}")
        return 0
    lines = [f"  {command:<9}{text}" for command, text in COMMANDS.items()]
    shown = ["usage: python -m hrnet_deploy COMMAND [option ...]", "", *lines, "", "COMMAND --help shows more."]
    if name in {"-h", "--help"}:
        print_result(*shown)
        return 0
    print_error("hrnet_deploy", f"no command is named {name}")
    print_lines(*shown)
    return 2
