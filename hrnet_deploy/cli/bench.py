"""`hrnet-bench`: the speed of artifacts, side by side."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hrnet_deploy.artifact.files import atomic_output, check_output
from hrnet_deploy.benchmark.benchmark import Settings, benchmark
from hrnet_deploy.benchmark.model_table import model_sections
from hrnet_deploy.benchmark.result import Benchmark
from hrnet_deploy.benchmark.tables import Section, as_markdown, as_text, sections
from hrnet_deploy.cli.artifact_arguments import URL_HELP, add_server_flags, locate_with_card, server_words
from hrnet_deploy.cli.bench_models import named_models, speed_artifacts
from hrnet_deploy.cli.console import next_command, print_json, print_message, print_progress, print_result
from hrnet_deploy.cli.launch import launch
from hrnet_deploy.cli.parser import add_runtime_flags, add_special_flag, parser
from hrnet_deploy.engines.remote.address import is_url
from hrnet_deploy.errors import UsageError
from hrnet_deploy.system import load_snapshot

_FORMATS = (".json", ".md")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    p = parser(
        "hrnet-bench",
        "Measure latency and throughput of artifacts: the engine alone, with copies, and end to end.",
    )
    p.add_argument(
        "artifacts",
        nargs="+",
        metavar="ARTIFACT",
        help=f".onnx or .engine files, the {URL_HELP}, or names of models such as hrnet_w18,hrnet_w48, which are "
        "exported once with random weights; the first is the reference",
    )
    p.add_argument("--precision", metavar="P,P", help="precisions of models by name: fp32, fp16, int8 (default: fp32)")
    p.add_argument("--batch", default="1,4,8", metavar="N,N", help="images per inference (default: 1,4,8)")
    add_runtime_flags(p)
    add_server_flags(p)
    p.add_argument(
        "--streams",
        type=int,
        default=1,
        metavar="N",
        help="also measure the throughput of N inferences side by side (default: 1)",
    )
    p.add_argument("--image", metavar="FILE", help="input image (default: a generated one)")
    p.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="seconds per artifact, batch and table (default: 2)"
    )
    p.add_argument("--reference", choices=["published"], help="add published latencies on V100 and T4")
    p.add_argument("--out", metavar="FILE", help="also write the result to a .md or .json file")
    add_special_flag(p)
    return p.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    out = None if args.out is None else Path(args.out)
    if out is not None and out.suffix.lower() not in _FORMATS:
        raise UsageError(f"output must end in .md or .json, got '{out.name}'. Choose one.")
    models = named_models(args)
    if out is not None:
        check_output(out, () if models else map(Path, args.artifacts))
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
    # Printed before the measurement, while the user can still stop other work.
    for line in load_snapshot.warnings(load_snapshot.take_snapshot()):
        print_message(args, f"hrnet-bench: warning: {line}")
    artifacts = speed_artifacts(args, models) if models else locate_with_card(args, args.artifacts)
    progress = _Progress(shown=not args.quiet and sys.stderr.isatty())
    try:
        result = benchmark(artifacts, settings, step=progress)
    finally:
        progress.clear()
    parts = [*model_sections(result), *sections(result)] if models else sections(result)
    if out is not None:
        _write(result, parts, out)
    if args.json:
        print_json(result.to_dict())
    else:
        print_result(*as_text(parts).split("\n"))
    if out is None:
        precision = [] if args.precision is None else ["--precision", args.precision]
        words = (*args.artifacts, *precision, *server_words(args))
        next_command(args, "hrnet-bench", *words, "--batch", args.batch, "--out", "bench.md")
    else:
        server = server_words(args) if is_url(args.artifacts[0]) else ()
        next_command(args, "hrnet-inspect", str(artifacts[0]) if models else args.artifacts[0], *server)
    return 0


def main() -> int:
    """Run hrnet-bench and return the exit code."""
    return launch("hrnet-bench", parse_args, run)


def _batches(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise UsageError(f"batch must be a list of numbers, got '{text:.60}'. Example: --batch 1,4,8.")
    return tuple(sorted({int(part) for part in parts}))


class _Progress:
    """The current measurement, on one line that the next overwrites."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def __call__(self, stage: str) -> None:
        if self._shown:
            print_progress(f"{stage} ...")

    def clear(self) -> None:
        if self._shown:
            print_progress("")


def _write(result: Benchmark, parts: Sequence[Section], path: Path) -> None:
    if path.suffix.lower() == ".json":
        text = json.dumps(result.to_dict(), ensure_ascii=False, indent=2) + "\n"
    else:
        text = as_markdown(parts)
    with atomic_output(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", errors="replace"))  # a file name may hold what UTF-8 cannot
