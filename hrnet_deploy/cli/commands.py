"""The list of all commands, and `python -m hrnet_deploy`, which runs one of them."""

from __future__ import annotations

import importlib
import sys

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
    if name == "--version":
        print(f"hrnet_deploy {VERSION}")
        return 0
    if name.removeprefix("hrnet-") in COMMANDS:
        name = name.removeprefix("hrnet-")
        sys.argv[:2] = [f"hrnet-{name}"]
        code: int = importlib.import_module(f"hrnet_deploy.cli.{name}").main()
        return code
    wrong = name not in {"-h", "--help"}
    lines = [f"  {name:<9}{text}" for name, text in COMMANDS.items()]
    text = "\n".join(
        ["usage: python -m hrnet_deploy COMMAND [option ...]", "", *lines, "", "COMMAND --help shows more."]
    )
    if wrong:
        print(f"hrnet_deploy: no command is named {name}", file=sys.stderr)
    print(text, file=sys.stderr if wrong else sys.stdout)
    return 2 if wrong else 0
