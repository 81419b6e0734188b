"""`hrnet-predict`: predictions for images, folders, patterns or video, and for large sources into a folder."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hrnet_deploy.cli.artifact_arguments import URL_HELP, add_server_flags, locate, read_card, server_words
from hrnet_deploy.cli.batch import add_batch_flags, check_without_out, predict_into_folder
from hrnet_deploy.cli.console import next_command, print_json, print_message, print_result
from hrnet_deploy.cli.features import check_feature_flags, write_features
from hrnet_deploy.cli.launch import launch
from hrnet_deploy.cli.parser import (
    BATCH,
    TOPK,
    add_runtime_flags,
    add_special_flag,
    add_strict_flag,
    check_strict,
    parser,
)
from hrnet_deploy.cli.saving import Saver
from hrnet_deploy.engines.remote.address import is_url
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.imaging.sources import OnError, is_live, is_single
from hrnet_deploy.models.zoo import has_name
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.processing.prefetch import readers
from hrnet_deploy.results import ClassificationResult, Result
from hrnet_deploy.spec import ModelCard, Task
from hrnet_deploy.system.progress import bar

_TOPK = 5


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    p = parser("hrnet-predict", "Classify or segment images with an exported model.")
    p.add_argument(
        "artifact",
        metavar="ARTIFACT",
        help=f"an .onnx or .engine file created by hrnet-export, a zoo name (exported once), or the {URL_HELP}",
    )
    p.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="image, folder, glob pattern, video file or camera index; with --out also @LIST (a file with one path a "
        "line), .tar or .parquet",
    )
    p.add_argument("--save", metavar="DIR", help="write an overlay image of each result, or an overlay video")
    p.add_argument(
        "--features", metavar="FILE", help="write the features of an artifact exported with them: .npz or .parquet"
    )
    p.add_argument("--topk", type=TOPK, metavar="N", help="classes to print per image, for a classifier (default: 5)")
    p.add_argument("--batch", type=BATCH, metavar="N", help="images per inference (default: 1, or the artifact's own)")
    add_runtime_flags(p)
    add_server_flags(p, "use the model card of another .onnx, or .engine with its sidecar")
    p.add_argument(
        "--draft", action="store_true", help="decode large JPEGs at a smaller size: faster, not exact; classifiers only"
    )
    p.add_argument("--allow-url", action="store_true", help="allow http(s) URLs as sources")
    p.add_argument(
        "--skip-bad", action="store_true", help="report unreadable images, continue, and exit with 2; --out always does"
    )
    add_special_flag(p)
    add_strict_flag(p)
    add_batch_flags(p)
    return p.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Predict, and print one line or one JSON object per image; return 2 if an image was skipped."""
    check_strict(args)
    card = read_card(args.card)
    check_feature_flags(args)
    if args.out is not None:
        return predict_into_folder(args, _artifact(args, card), card)
    check_without_out(args)
    # Several images, such as a shell's photos/*.jpg, form one source and are read ahead; camera frames must not wait.
    live = any(map(is_live, args.source))
    sources = args.source if live or len(args.source) == 1 else [args.source]
    skipped: list[str] = []
    count = 0
    with (
        Predictor(
            _artifact(args, card),
            device=args.device,
            backend=args.backend,
            threads=args.threads,
            streams=1 if live or all(map(is_single, sources)) else None,
            card=card,
        ) as predictor,
        ThreadPoolExecutor(readers(args.threads), thread_name_prefix="hrnet-write") as writing,
    ):
        _check_options(args, predictor.card)
        if args.features is not None:
            count = write_features(args, predictor, sources, _skipper(args, skipped))
            sources = []
        with contextlib.closing(_save(args, _predict(args, predictor, sources, skipped), writing)) as results:
            for result, path in bar(results, unit="image"):
                count += 1
                _print(args, result, path)
    print_message(args, f"{count} images on {predictor.device}" + (f", {len(skipped)} skipped" if skipped else ""))
    if args.save is None and args.features is None:
        next_command(args, "hrnet-predict", args.artifact, *args.source, *server_words(args), "--save", "out")
    return 2 if skipped else 0


def _predict(
    args: argparse.Namespace, predictor: Predictor, sources: Sequence[Any], skipped: list[str]
) -> Iterator[Result]:
    """Yield results; with --skip-bad, append the names of unreadable images to `skipped`."""
    for source in sources:
        yield from predictor.predict(
            source,
            stream=True,
            batch=args.batch or 1,
            on_error=_skipper(args, skipped),
            draft=args.draft,
            allow_url=args.allow_url,
        )


def _skipper(args: argparse.Namespace, skipped: list[str]) -> OnError | None:
    """Return what notes an unreadable image in `skipped` with --skip-bad; else None."""

    def skip(name: str, error: ImageError) -> None:
        skipped.append(name)
        print_message(args, f"hrnet-predict: skipped {name}: {error}")

    return skip if args.skip_bad else None


def _save(
    args: argparse.Namespace, results: Iterator[Result], pool: ThreadPoolExecutor
) -> Generator[tuple[Result, Path | None], None, None]:
    """Yield each result with its overlay file, if --save is given."""
    if args.save is None:
        return ((result, None) for result in results)
    return Saver(Path(args.save), pool, lambda text: print_message(args, f"hrnet-predict: {text}")).saved(results)


def _artifact(args: argparse.Namespace, card: ModelCard | None) -> Path | RemoteModel:
    """Return the file or the model on a server; a zoo name is exported into the cache first."""
    (artifact,) = locate(args, [args.artifact], card)
    if is_url(args.artifact) or not has_name(args.artifact) or Path(args.artifact).exists():
        return artifact
    from hrnet_deploy.export.zoo_artifact import named_artifact

    exported, entry, digest = named_artifact(args.artifact)
    print_message(args, f"{entry.name}, published by {entry.source}, weights SHA-256 {digest}: {exported}")
    return exported


def _check_options(args: argparse.Namespace, card: ModelCard) -> None:
    """Refuse options that do not apply to this artifact."""
    if args.topk is not None and card.task is not Task.CLASSIFICATION:
        raise UsageError(f"--topk applies to classification only, got a model for {card.task.value}. Leave it out.")
    fixed = card.inputs[0].shape[0]
    if args.batch is not None and isinstance(fixed, int) and args.batch != fixed:
        raise UsageError(
            f"--batch must be {fixed}, the only one that {args.artifact} takes, got {args.batch}. Leave it out."
        )


def main() -> int:
    """Run hrnet-predict and return the exit code."""
    return launch("hrnet-predict", parse_args, run)


def _print(args: argparse.Namespace, result: Result, saved: Path | None) -> None:
    where = {} if saved is None else {"saved": str(saved)}
    if args.json:
        record = result.to_dict()
        if isinstance(result, ClassificationResult):
            record["topk"] = result.topk_records(args.topk or _TOPK)
        print_json(record | where, compact=True)
        return
    milliseconds = sum(result.speed.values())
    summary = result.summary(args.topk or _TOPK) if isinstance(result, ClassificationResult) else result.summary()
    text = f"{result.name}: {summary} ({milliseconds:.1f} ms)"
    print_result(" ".join((text, *where.values())))
