"""hrnet-report: accuracy and speed of fp16 and int8 artifacts against a reference."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrnet_deploy.cli.artifact_arguments import URL_HELP, add_server_flags, locate_with_card, server_words
from hrnet_deploy.cli.console import next_command, print_json, print_message, print_result
from hrnet_deploy.cli.launch import launch
from hrnet_deploy.cli.parser import (
    BATCH,
    IMAGES,
    LABEL_VALUE,
    SECONDS,
    add_executor_flag,
    add_runtime_flags,
    add_special_flag,
    add_strict_flag,
    check_strict,
    parser,
)
from hrnet_deploy.engines.remote.remote_model import runtime_of
from hrnet_deploy.errors import UsageError

if TYPE_CHECKING:
    from hrnet_deploy.evaluation.loaded_model import Artifact
    from hrnet_deploy.evaluation.waterfall_result import WaterfallStep

_JOURNAL = ".journal"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, that of the process for None."""
    p = parser(
        "hrnet-report", "Measure what fp16 and int8 cost: accuracy drop, agreement and speed on the same images."
    )
    p.add_argument("reference", metavar="REFERENCE", help="artifact that the others are compared with")
    p.add_argument(
        "candidates",
        nargs="+",
        metavar="CANDIDATE",
        help=f"fp16 and int8 artifacts, .onnx or .engine, or the {URL_HELP}",
    )
    p.add_argument("--data", required=True, metavar="DIR", help="labeled images: class folders, a list, Cityscapes")
    p.add_argument("--labels", metavar="FILE", help="label file for a folder of photos")
    p.add_argument("--split", metavar="NAME", help="folder to use where there are several (default: val)")
    p.add_argument("--limit", type=IMAGES, metavar="N", help="number of images, spread evenly (default: all)")
    p.add_argument(
        "--label-values",
        metavar="LIST",
        help="value of each class in label images: 0,255 or 1-150 (default: 0,1,2 ...)",
    )
    p.add_argument(
        "--ignore-label", type=LABEL_VALUE, metavar="N", help="label value that is not judged, in addition to 255"
    )
    p.add_argument("--out", metavar="DIR", help="folder of the report (default: report_REFERENCE)")
    p.add_argument(
        "--batch", type=BATCH, default=1, metavar="N", help="images per inference; times are for one (default: 1)"
    )
    p.add_argument(
        "--waterfall", metavar="WEIGHTS", help="checkpoint of the artifacts: also measure the loss of each export step"
    )
    p.add_argument("--window", metavar="H[xW]", help="sliding windows over whole images (segmentation)")
    add_runtime_flags(p)
    add_executor_flag(p)
    add_server_flags(p)
    add_special_flag(p)
    add_strict_flag(p)
    p.add_argument(
        "--seconds", type=SECONDS, default=5.0, metavar="S", help="time for timing each artifact (default: 5)"
    )
    p.add_argument("--no-photos", dest="photos", action="store_false", help="omit the images themselves from the page")
    args = p.parse_args(argv)
    args.command = shlex.join(["hrnet-report", *(sys.argv[1:] if argv is None else argv)])
    return args


def run(args: argparse.Namespace) -> int:
    """Measure, write the report, print its table, and return 0."""
    from hrnet_deploy.report import build_report, summarize, write_report
    from hrnet_deploy.report.tables import feature_table, figure_table
    from hrnet_deploy.report.write import check_output, to_record

    check_strict(args)
    window = _parse_window(args.window)
    if window and args.waterfall:
        raise UsageError(f"--waterfall is measured on whole images, got --window {args.window} too. Leave one out.")
    reference, *candidates = locate_with_card(args, [args.reference, *args.candidates])
    folder = Path(args.out) if args.out else Path(f"report_{Path(args.reference).stem}")
    is_new = not os.path.lexists(folder)
    check_output(folder)
    journal = folder / _JOURNAL
    try:
        report = build_report(
            reference,
            candidates,
            args.data,
            **_data_options(args),
            **_runtime_options(args),
            batch=args.batch,
            window=window,
            journal=journal,
            executor=args.executor,
            photos=args.photos,
            seconds=args.seconds,
            command=args.command,
            waterfall=_measure_waterfall(args, [reference, *candidates]),
        )
    except BaseException:
        if is_new:  # a folder stays only for the journal, from which the next run resumes
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    paths = write_report(report, folder)
    _remove_journal(journal)
    summary = summarize(report)
    if args.json:
        print_json(to_record(report))
    else:
        print_result(*figure_table(report).text())
        if report.with_features:
            print_result(*feature_table(report).text())
    print_message(args, summary.headline)
    print_message(args, f"Report: {paths['html']} (also .md, .json, .csv)")
    best = summary.best or report.reference
    words = () if best.model.path else server_words(args)
    next_command(args, "hrnet-predict", best.model.path or best.model.name, "IMAGE", *words, "--save", "out")
    return 0


def main() -> int:
    """Entry point."""
    return launch("hrnet-report", parse_args, run)


def _measure_waterfall(args: argparse.Namespace, artifacts: Sequence[Artifact]) -> tuple[WaterfallStep, ...]:
    """Measure the export steps; this comes first because it refuses weights of another model."""
    if args.waterfall is None:
        return ()
    from hrnet_deploy.export.entry_point import export_extra
    from hrnet_deploy.predictor import Predictor

    with export_extra():
        from hrnet_deploy.export.accuracy_waterfall import measure_waterfall

    is_graph = args.waterfall.endswith(".onnx")
    task = None
    if is_graph:  # whose task may be unknown
        options = _runtime_options(args)
        options["device"], options["backend"] = runtime_of(artifacts[0], artifacts, args.device, args.backend)
        with Predictor(artifacts[0], **options) as predictor:
            task = predictor.card.task.value
    waterfall = measure_waterfall(
        artifacts,
        args.data,
        model=args.waterfall if is_graph else None,
        weights=None if is_graph else args.waterfall,
        task=task,
        **_data_options(args),
        **_runtime_options(args),
    )
    return waterfall.steps


def _data_options(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the options that find the data set."""
    from hrnet_deploy.evaluation.datasets.label_values import parse_label_values

    return {
        "labels": args.labels,
        "split": args.split,
        "limit": args.limit,
        "label_values": parse_label_values(args.label_values),
        "ignore_label": args.ignore_label,
    }


def _runtime_options(args: argparse.Namespace) -> dict[str, Any]:
    return {"device": args.device, "backend": args.backend, "threads": args.threads}


def _parse_window(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if found is None:
        raise UsageError(f"window must be H or HxW in pixels, got '{text}'. Write 512x1024.")
    return int(found[1]), int(found[2] or found[1])


def _remove_journal(journal: Path) -> None:
    """Remove the journal of a finished run, but no other file of the folder."""
    with contextlib.suppress(OSError):
        for path in journal.glob("*.jsonl"):
            path.unlink()
        journal.rmdir()
