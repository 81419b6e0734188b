"""`hrnet-bench`: how fast artefacts are, side by side."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.benchmark.benchmark import Settings, benchmark
from hrnet_deploy.benchmark.result import Benchmark
from hrnet_deploy.benchmark.tables import as_markdown, as_text, sections
from hrnet_deploy.cli.console import launch, next_command, parser, print_json, print_message
from hrnet_deploy.errors import UsageError
from hrnet_deploy.system import load_snapshot

_FORMATS = (".json", ".md")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: the arguments; None for the process's own.

    Returns:
        One attribute per flag.
    """
    p = parser(
        "hrnet-bench",
        "Measure latency and throughput of artefacts in turns: the engine alone, with copies, and end to end.",
    )
    p.add_argument(
        "artefacts", nargs="+", metavar="ARTEFACT", help=".onnx or .engine files; the first is the reference"
    )
    p.add_argument("--batch", default="1,4,8", metavar="N,N", help="images per inference (default: 1,4,8)")
    p.add_argument("--threads", type=int, metavar="N", help="CPU threads for one inference (default: all cores)")
    p.add_argument(
        "--streams",
        type=int,
        default=1,
        metavar="N",
        help="also measure N inferences side by side, each in a stream of its own on a CPU (default: 1)",
    )
    p.add_argument("--device", default="auto", metavar="D", help="cpu, cuda, cuda:N or auto (default: auto)")
    p.add_argument("--backend", default="auto", metavar="B", help="onnxruntime, openvino, tensorrt ... or auto")
    p.add_argument("--image", metavar="FILE", help="picture to answer (default: a made one)")
    p.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="for each artefact, batch and figure (default: 2)"
    )
    p.add_argument("--reference", choices=["published"], help="put published V100 and T4 figures beside ours")
    p.add_argument("--out", metavar="FILE", help="also write the result, as .md or .json")
    return p.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Args:
        args: from `parse_args`.

    Returns:
        0.

    Raises:
        UsageError: a batch list, number or output name that cannot be used.
        HrnetDeployError: whatever measuring raises.
    """
    out = None if args.out is None else Path(args.out)
    if out is not None and out.suffix.lower() not in _FORMATS:
        raise UsageError(f"output must end in .md or .json, got '{out.name}'. Choose one.")
    settings = Settings(
        batches=_batches(args.batch),
        threads=args.threads,
        streams=args.streams,
        device=args.device,
        backend=args.backend,
        image=None if args.image is None else Path(args.image),
        seconds=args.seconds,
        reference=args.reference is not None,
    )
    # Told before the wait, while there is time to stop the other work.
    for line in load_snapshot.warnings(load_snapshot.take_snapshot()):
        print_message(args, f"hrnet-bench: warning: {line}")
    progress = _Progress(shown=not args.quiet and sys.stderr.isatty())
    try:
        found = benchmark([Path(path) for path in args.artefacts], settings, step=progress)
    finally:
        progress.clear()
    if out is not None:
        _write(found, out)
    if args.json:
        print_json(found.to_dict())
    else:
        print(as_text(sections(found)))
    if out is None:
        next_command(args, "hrnet-bench", *args.artefacts, "--batch", args.batch, "--out", "bench.md")
    else:
        next_command(args, "hrnet-inspect", args.artefacts[0])
    return 0


def main() -> int:
    """Entry point of hrnet-bench.

    Returns:
        The exit code.
    """
    return launch("hrnet-bench", parse_args, run)


def _batches(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise UsageError(f"batch must be a list of numbers, got '{text:.60}'. Example: --batch 1,4,8.")
    return tuple(sorted({int(part) for part in parts}))


class _Progress:
    """The stage at work, on one line that the next overwrites; nothing where nobody watches."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def __call__(self, stage: str) -> None:
        if self._shown:
            print(f"\r\x1b[K{stage[:80]} ...", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _write(found: Benchmark, path: Path) -> None:
    if path.suffix.lower() == ".json":
        text = json.dumps(found.to_dict(), ensure_ascii=False, indent=2) + "\n"
    else:
        text = as_markdown(sections(found))
    with atomic_output(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
