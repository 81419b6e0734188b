"""Ours against what a user would pick instead, in turns within one process: nets, streams, segmentation, start, memory.

    python benchmarks/fast.py [--only nets,streams,...] [--nets NAME,...] [--seconds S] [--quick] [--out FILE.md]
                              [--resume] [--keep DIR] [--compile-nets NAME,...] [--no-compile] [--data DIR] [--json]

All contenders of a net have the same random weights, which cost the same as trained ones. With --out, the report and
all that was measured (FILE.json beside it) are written after every group, and a later run adds to them: run it in
parts, stop it when you like.
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

from contest import memory, nets, segmentation, start, streams
from contest.ledger import Ledger, write_text
from contest.report import markdown
from contest.section import Section
from contest.setting import NETS, QUICK_NETS, SHARED, Setting, made_photos, say

SECTIONS: dict[str, Section] = {
    "nets": nets,
    "streams": streams,
    "segmentation": segmentation,
    "start": start,
    "memory": memory,
}
COMPILED = ("hrnet_w18_small_v2", "hrnet_w18", "hrnetv2_w18_small_v1", "hrnetv2_w18_small_v2")
"""Nets that torch.compile compiles in about a minute for each batch, on two cores (38 to 64 s)."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by comma (default: all)")
    parser.add_argument("--nets", help="by comma (default: all five)")
    parser.add_argument("--seconds", type=float, default=10.0, help="for one group of contenders (default: 10)")
    parser.add_argument("--quick", action="store_true", help="one net, batch 1, few calls: shows that it works")
    parser.add_argument("--compile-nets", default=",".join(COMPILED), help="nets for torch.compile, by comma")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument(
        "--keep", type=Path, help="folder for exported files, for later runs (default: a temporary one)"
    )
    parser.add_argument("--resume", action="store_true", help="leave out what --out has already")
    parser.add_argument(
        "--data",
        type=Path,
        default=SHARED / "data" / "imagenet",
        help="folder of JPEGs; synthetic ones where there is none",
    )
    parser.add_argument("--out", type=Path, help="Markdown to write, with a .json beside it; both are added to")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    args.only = args.only.split(",")
    args.nets = args.nets.split(",") if args.nets else list(QUICK_NETS if args.quick else NETS)
    for flag, words, known in (("--only", args.only, list(SECTIONS)), ("--nets", args.nets, list(NETS))):
        if unknown := sorted(set(words) - set(known)):
            parser.error(f"{flag} must be of {', '.join(known)}, got '{unknown[0]}'")
    return args


def main() -> int:
    """Measure what was asked for and print the report.

    Returns:
        0, or 130 where it was interrupted.
    """
    args = parse_args()
    ledger = Ledger(args.out and args.out.with_suffix(".json"), " ".join(["benchmarks/fast.py", *sys.argv[1:]]))
    complete = QUICK_NETS if args.quick else tuple(NETS)
    status = 0
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder.resolve() / "inductor"))
        data = args.data if args.data.is_dir() else made_photos(folder / "photos")
        compiled = frozenset(() if args.no_compile or args.quick else args.compile_nets.split(","))
        seconds = min(args.seconds, 1.0) if args.quick else args.seconds
        setting = Setting(folder.resolve(), data, seconds, args.quick, compiled)
        try:
            for section, key in [(s, key) for s in args.only for key in SECTIONS[s].keys(args.nets, quick=args.quick)]:
                if args.resume and "failed" not in ledger.records(section).get(key, {"failed": ""}):
                    say(f"{section} {' '.join(key)}: measured before")
                    continue
                try:
                    record = SECTIONS[section].measure(setting, key)
                except Exception as error:  # noqa: BLE001 - the other groups still count
                    record = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
                    say(f"{section} {' '.join(key)}: {record['failed']}")
                ledger.put(section, key, record)
                if args.out is not None:
                    write_text(args.out, markdown(ledger, SECTIONS, complete, quick=args.quick))
        except KeyboardInterrupt:
            say("interrupted; what was measured is kept")
            status = 130
    text = markdown(ledger, SECTIONS, complete, quick=args.quick)
    if args.out is not None:
        write_text(args.out, text)
    print(json.dumps(ledger.content(), indent=2) if args.json else text)
    return status


if __name__ == "__main__":
    sys.exit(main())
