"""Ours against what a user would pick instead, interleaved in one process.

    python benchmarks/compare.py [--only throughput,streams,...] [--models NAME,...] [--seconds S] [--quick]
                                 [--out FILE.md] [--resume] [--keep DIR] [--compile-models NAME,...] [--no-compile]
                                 [--data DIR] [--json]

Suites: throughput, streams, segmentation, cold_start, memory. All contenders of a model have the same random weights.
With --out, the report and all records (FILE.json beside it) are written after every group, and a later run adds to
them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from comparison import cold_start, memory, segmentation, streams, throughput
from comparison.config import MODELS, QUICK_MODELS, SHARED, Config, Suite, log, synthetic_photos
from comparison.report import ResultsStore, markdown, write_text
from comparison.table import script_parser

SUITES: dict[str, Suite] = {
    "throughput": throughput,
    "streams": streams,
    "segmentation": segmentation,
    "cold_start": cold_start,
    "memory": memory,
}
COMPILED = ("hrnet_w18_small_v2", "hrnet_w18", "hrnetv2_w18_small_v1", "hrnetv2_w18_small_v2")
"""Models that torch.compile compiles in 38 to 64 s a batch on two cores."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--only", default=",".join(SUITES), help="suites, by comma (default: all)")
    parser.add_argument("--models", help="by comma (default: all five)")
    parser.add_argument("--seconds", type=float, default=10.0, help="for one group of contenders (default: 10)")
    parser.add_argument("--quick", action="store_true", help="one model, batch 1, few calls: shows that it works")
    parser.add_argument("--compile-models", default=",".join(COMPILED), help="models for torch.compile, by comma")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--keep", type=Path, help="folder for exported files of all runs (default: a temporary one)")
    parser.add_argument("--resume", action="store_true", help="leave out what --out has already")
    photos = SHARED / "data" / "imagenet"
    parser.add_argument("--data", type=Path, default=photos, help="folder of JPEGs; synthetic ones without it")
    parser.add_argument("--out", type=Path, help="Markdown to write, with a .json beside it; both are added to")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    args.only = args.only.split(",")
    args.models = args.models.split(",") if args.models else list(QUICK_MODELS if args.quick else MODELS)
    for flag, words, known in (("--only", args.only, list(SUITES)), ("--models", args.models, list(MODELS))):
        if unknown := sorted(set(words) - set(known)):
            parser.error(f"{flag} must be of {', '.join(known)}, got '{unknown[0]}'")
    return args


def main() -> int:
    """Measure what was requested and print the report; the exit code is 130 after an interruption."""
    args = parse_args()
    store = ResultsStore(args.out and args.out.with_suffix(".json"), " ".join(["benchmarks/compare.py", *sys.argv[1:]]))
    complete = QUICK_MODELS if args.quick else tuple(MODELS)
    status = 0
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder.resolve() / "inductor"))
        data = args.data if args.data.is_dir() else synthetic_photos(folder / "photos")
        compiled = frozenset(() if args.no_compile or args.quick else args.compile_models.split(","))
        seconds = min(args.seconds, 1.0) if args.quick else args.seconds
        config = Config(folder.resolve(), data, seconds, args.quick, compiled)
        try:
            for suite, key in [(s, key) for s in args.only for key in SUITES[s].keys(args.models, quick=args.quick)]:
                if args.resume and "failed" not in store.records(suite).get(key, {"failed": ""}):
                    log(f"{suite} {' '.join(key)}: measured before")
                    continue
                try:
                    record = SUITES[suite].measure(config, key)
                except Exception as error:  # noqa: BLE001 - the other groups still count
                    record = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
                    log(f"{suite} {' '.join(key)}: {record['failed']}")
                store.put(suite, key, record)
                if args.out is not None:
                    write_text(args.out, markdown(store, SUITES, complete, quick=args.quick))
        except KeyboardInterrupt:
            log("interrupted; records are kept")
            status = 130
    text = markdown(store, SUITES, complete, quick=args.quick)
    if args.out is not None:
        write_text(args.out, text)
    print(json.dumps(store.content(), indent=2) if args.json else text)
    return status


if __name__ == "__main__":
    sys.exit(main())
