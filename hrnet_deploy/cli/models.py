"""`hrnet-models`: the zoo as a table."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from hrnet_deploy.cli.console import launch, next_command, parser, print_json, print_message
from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.zoo import ZooEntry, list_models, suggestion
from hrnet_deploy.system.text_table import Table

_HEADER = ("name", "params M", "GMACs", "top-1", "top-5", "mIoU", "input", "weights")
_WORDS = frozenset(_HEADER) - {"params M", "GMACs"}
_BY_HAND = " *"
_NOTES_UP_TO = 4


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: the arguments; None for the process's own.

    Returns:
        pattern, and the common flags.
    """
    arguments = parser("hrnet-models", "List published HRNet weights: size, cost, published accuracy, and where from.")
    arguments.add_argument(
        "pattern", nargs="?", default="*", metavar="PATTERN", help="part of a name, or wildcards such as 'hrnet_w18.*'"
    )
    return arguments.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Print the rows that match.

    Args:
        args: what `parse_args` returned.

    Returns:
        0.

    Raises:
        UsageError: nothing matches.
    """
    rows = _matching(args.pattern)
    if args.json:
        print_json([_record(entry) for entry in rows])
    else:
        print("\n".join(Table(_HEADER, [_cells(entry) for entry in rows], _WORDS).text()))
    if any(entry.by_hand for entry in rows):
        print_message(args, "* fetch by hand in a browser, then give --weights PATH; --json shows where each file is")
    if len(rows) <= _NOTES_UP_TO and not args.json:
        for entry in rows:
            if entry.note:
                print_message(args, f"{entry.name}: {entry.note}")
    # Best to start with: a file that downloads and whose digest is known.
    best = min(rows, key=lambda entry: (entry.by_hand, entry.digest is None))
    next_command(args, "hrnet-export", best.variant, "--weights", best.filename if best.by_hand else best.name)
    return 0


def main() -> int:
    """Entry point of hrnet-models.

    Returns:
        The exit code.
    """
    return launch("hrnet-models", parse_args, run)


def _matching(pattern: str) -> tuple[ZooEntry, ...]:
    rows = list_models(pattern)
    if not rows and not any(sign in pattern for sign in "*?["):
        rows = list_models(f"*{pattern.strip()}*")
    if not rows:
        raise UsageError(f"pattern must match a zoo name, got '{pattern}'. {suggestion(pattern.strip('*?'))}")
    return rows


def _record(entry: ZooEntry) -> dict[str, Any]:
    return dataclasses.asdict(entry) | {
        "by_hand": entry.by_hand,
        "preprocessing": dataclasses.asdict(entry.preprocessing),
    }


def _cells(entry: ZooEntry) -> tuple[str, ...]:
    height, width = entry.input_hw
    return (
        entry.name,
        f"{entry.params / 1e6:.2f}",
        f"{entry.gmacs:.2f}",
        _percent(entry.top1),
        _percent(entry.top5),
        _percent(entry.miou),
        f"{height}x{width}",
        entry.source + (_BY_HAND if entry.by_hand else ""),
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else str(value)
