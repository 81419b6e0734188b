"""`hrnet-models`: the published weights as a table."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from hrnet_deploy.cli.console import next_command, print_json, print_message, print_result
from hrnet_deploy.cli.launch import launch
from hrnet_deploy.cli.parser import parser
from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.zoo import ZooEntry, list_models, suggestion
from hrnet_deploy.system.text_table import Table

_HEADER = ("name", "params M", "GMACs", "top-1", "top-5", "mIoU", "input", "weights")
_WORDS = frozenset(_HEADER) - {"params M", "GMACs"}
_BY_HAND = " *"
_NOTES_UP_TO = 4


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    arguments = parser("hrnet-models", "List published HRNet weights: size, cost, published accuracy and publisher.")
    arguments.add_argument(
        "pattern", nargs="?", default="*", metavar="PATTERN", help="part of a name, or a pattern such as 'hrnet_w18.*'"
    )
    return arguments.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Print the matching rows."""
    rows = _matching(args.pattern)
    if args.json:
        computed = [{"by_hand": e.by_hand, "preprocessing": dataclasses.asdict(e.preprocessing)} for e in rows]
        print_json([dataclasses.asdict(entry) | more for entry, more in zip(rows, computed, strict=True)])
    else:
        print_result(*Table(_HEADER, [_cells(entry) for entry in rows], _WORDS).text())
    if any(entry.by_hand for entry in rows):
        print_message(args, "* download by hand in a browser, then use --weights PATH; --json shows each file's URL")
    if len(rows) <= _NOTES_UP_TO and not args.json:
        for entry in rows:
            if entry.note:
                print_message(args, f"{entry.name}: {entry.note}")
    # The best start is a file that can be downloaded and has a known digest.
    best = min(rows, key=lambda entry: (entry.by_hand, entry.digest is None))
    next_command(args, "hrnet-export", best.variant, "--weights", best.filename if best.by_hand else best.name)
    return 0


def main() -> int:
    """Run hrnet-models and return the exit code."""
    return launch("hrnet-models", parse_args, run)


def _matching(pattern: str) -> tuple[ZooEntry, ...]:
    rows = list_models(pattern)
    if not rows and not any(sign in pattern for sign in "*?["):
        rows = list_models(f"*{pattern.strip()}*")
    if not rows:
        raise UsageError(f"pattern must match a zoo name, got '{pattern}'. {suggestion(pattern.strip('*?'))}")
    return rows


def _cells(entry: ZooEntry) -> tuple[str, ...]:
    height, width = entry.input_hw
    return (
        entry.name,
        f"{entry.params / 1e6:.2f}",
        f"{entry.gmacs:.2f}",
        *("-" if value is None else str(value) for value in (entry.top1, entry.top5, entry.miou)),
        f"{height}x{width}",
        entry.source + (_BY_HAND if entry.by_hand else ""),
    )
