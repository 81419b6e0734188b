"""hrnet-report: what cheaper artefacts lose against a reference, and what they gain."""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrnet_deploy.cli.console import launch, next_command, parser, print_json, print_message
from hrnet_deploy.errors import UsageError

if TYPE_CHECKING:
    from hrnet_deploy.report.waterfall import Step

_JOURNAL = ".journal"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: the arguments; None for the process's own.

    Returns:
        One attribute per flag.
    """
    p = parser(
        "hrnet-report", "Measure what fp16 and int8 cost: accuracy drop, agreement and speed on the same images."
    )
    p.add_argument("reference", metavar="REFERENCE", help="artefact that the others are compared with")
    p.add_argument("candidates", nargs="+", metavar="CANDIDATE", help="cheaper artefacts, .onnx or .engine")
    p.add_argument("--data", required=True, metavar="DIR", help="labelled images: class folders, a list, Cityscapes")
    p.add_argument("--labels", metavar="FILE", help="label file for a folder of photos")
    p.add_argument("--split", metavar="NAME", help="folder to use where there are several (default: val)")
    p.add_argument("--limit", type=int, metavar="N", help="images, spread evenly (default: all)")
    p.add_argument(
        "--label-values",
        metavar="LIST",
        help="what label images hold for each class: 0,255 or 1-150 (default: 0,1,2 ...)",
    )
    p.add_argument("--ignore-label", type=int, metavar="N", help="label value that is not judged, beside 255")
    p.add_argument("--out", metavar="DIR", help="folder of the report (default: report_REFERENCE)")
    p.add_argument(
        "--batch", type=int, default=1, metavar="N", help="images per inference; times are of one (default: 1)"
    )
    p.add_argument(
        "--waterfall", metavar="WEIGHTS", help="checkpoint they were made from: also measure what each step on loses"
    )
    p.add_argument("--window", metavar="H[xW]", help="sliding windows over whole pictures (segmentation)")
    p.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    p.add_argument(
        "--seconds", type=float, default=5.0, metavar="S", help="to spend on timing each artefact (default: 5)"
    )
    p.add_argument("--device", default="auto", metavar="D", help="cpu, cuda, cuda:N or auto (default: auto)")
    p.add_argument("--backend", default="auto", metavar="B", help="onnxruntime, openvino, tensorrt ... or auto")
    p.add_argument(
        "--no-photos", dest="photos", action="store_false", help="leave the images themselves out of the page"
    )
    args = p.parse_args(argv)
    args.command = shlex.join(["hrnet-report", *(sys.argv[1:] if argv is None else argv)])
    return args


def run(args: argparse.Namespace) -> int:
    """Measure, write the report, print its table.

    Args:
        args: from `parse_args`.

    Returns:
        0.

    Raises:
        HrnetDeployError: bad input, one line each.
    """
    from hrnet_deploy.report import judge, make_report, write_report
    from hrnet_deploy.report.table import as_text
    from hrnet_deploy.report.writing import check_folder, record

    window = _window(args.window)
    if window and args.waterfall:
        raise UsageError(f"--waterfall is measured on whole pictures, got --window {args.window} too. Leave one out.")
    folder = Path(args.out) if args.out else Path(f"report_{Path(args.reference).stem}")
    made_here = not folder.exists()
    check_folder(folder)
    journal = folder / _JOURNAL
    try:
        report = make_report(
            args.reference,
            args.candidates,
            args.data,
            labels=args.labels,
            split=args.split,
            limit=args.limit,
            **_label_options(args),
            batch=args.batch,
            window=window,
            device=args.device,
            backend=args.backend,
            threads=args.threads,
            journal=journal,
            photos=args.photos,
            seconds=args.seconds,
            command=args.command,
            waterfall=_waterfall(args),
        )
    except BaseException:
        if made_here:  # nothing is left behind unless images were answered, from which the next run goes on
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    paths = write_report(report, folder)
    _forget(journal)
    verdict = judge(report)
    if args.json:
        print_json(record(report))
    else:
        print(as_text(report))
    print_message(args, verdict.headline)
    print_message(args, f"Report: {paths['html']} (also .md, .json, .csv)")
    best = verdict.best or report.reference
    next_command(args, "hrnet-predict", best.model.path or best.label, "IMAGE", "--save", "out")
    return 0


def main() -> int:
    """Entry point."""
    return launch("hrnet-report", parse_args, run)


def _waterfall(args: argparse.Namespace) -> tuple[Step, ...]:
    """From the checkpoint to the artefacts; measured first, since it refuses other weights than theirs."""
    if args.waterfall is None:
        return ()
    from hrnet_deploy.export.accuracy_waterfall import measure_waterfall
    from hrnet_deploy.predictor import Predictor

    where = {"device": args.device, "backend": args.backend, "threads": args.threads}
    graph = args.waterfall.endswith(".onnx")
    task = None
    if graph:  # which may not say what it does
        with Predictor(args.reference, **where) as predictor:
            task = predictor.card.task.value
    found = measure_waterfall(
        [args.reference, *args.candidates],
        args.data,
        model=args.waterfall if graph else None,
        weights=None if graph else args.waterfall,
        task=task,
        labels=args.labels,
        split=args.split,
        limit=args.limit,
        **_label_options(args),
        **where,
    )
    return found.steps


def _label_options(args: argparse.Namespace) -> dict[str, Any]:
    """`label_values` and `ignore_label` for the functions that find the data set."""
    from hrnet_deploy.evaluation.datasets.label_values import parse_label_values

    return {"label_values": parse_label_values(args.label_values), "ignore_label": args.ignore_label}


def _window(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if found is None:
        raise UsageError(f"window must be H or HxW in pixels, got '{text}'. Write 512x1024.")
    return int(found[1]), int(found[2] or found[1])


def _forget(journal: Path) -> None:
    """Once the report is written its journal has served; what else lies in the folder is not ours."""
    with contextlib.suppress(OSError):
        for path in journal.glob("*.jsonl"):
            path.unlink()
        journal.rmdir()
