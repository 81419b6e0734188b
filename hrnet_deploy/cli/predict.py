"""hrnet-predict: run an artefact on images, folders, globs or video."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hrnet_deploy.cli.console import launch, next_command, parser, print_json, print_message
from hrnet_deploy.cli.saving import Saver
from hrnet_deploy.errors import ArtifactError, ImageError, UsageError
from hrnet_deploy.imaging.sources import is_live, is_single
from hrnet_deploy.models.zoo import has_name
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.processing.prefetch import readers
from hrnet_deploy.results import ClassificationResult, Result
from hrnet_deploy.spec import ModelCard, Task
from hrnet_deploy.system.progress import bar
from hrnet_deploy.system.text_table import printable

_TOPK = 5


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: the arguments; None for the process's own.

    Returns:
        One attribute per flag.
    """
    p = parser("hrnet-predict", "Classify or segment images with an exported net.")
    p.add_argument(
        "artefact",
        metavar="ARTEFACT",
        help="an .onnx or .engine file made by hrnet-export, or a zoo name (exported once)",
    )
    p.add_argument(
        "source", nargs="+", metavar="SOURCE", help="image, folder, glob pattern, video file or camera index"
    )
    p.add_argument("--save", metavar="DIR", help="write a picture of each result there, of a video a video")
    p.add_argument("--topk", type=int, metavar="N", help="classes to print per image, of a classifier (default: 5)")
    p.add_argument("--batch", type=int, metavar="N", help="images per inference (default: 1, or the artefact's own)")
    p.add_argument("--device", default="auto", metavar="D", help="cpu, cuda, cuda:N or auto (default: auto)")
    p.add_argument("--backend", default="auto", metavar="B", help="onnxruntime, openvino, tensorrt ... or auto")
    p.add_argument("--card", metavar="FILE", help="take the model card of that .onnx, or .engine with its sidecar")
    p.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    p.add_argument(
        "--draft", action="store_true", help="decode large JPEGs smaller: faster, not exact; for nets that classify"
    )
    p.add_argument("--allow-url", action="store_true", help="fetch sources that are http(s) URLs; refused otherwise")
    p.add_argument("--skip-bad", action="store_true", help="report images that cannot be read, go on, and exit with 2")
    return p.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Predict and print one line, or one JSON object, per image.

    Args:
        args: from `parse_args`.

    Returns:
        0, or 2 if an image was skipped.
    """
    if args.topk is not None and args.topk < 1:
        raise UsageError(f"topk must be at least 1, got {args.topk}. The default is 5.")
    skipped: list[str] = []

    def skip(name: str, error: ImageError) -> None:
        skipped.append(name)
        print_message(args, f"hrnet-predict: skipped {name}: {error}")

    folder = None if args.save is None else Path(args.save)
    card = None if args.card is None else _card(Path(args.card))
    count = 0
    # Together they are read ahead as one, such as a shell's photos/*.jpg; a camera's frames must not wait for others.
    live = any(map(is_live, args.source))
    sources = args.source if live or len(args.source) == 1 else [args.source]
    latency = live or all(map(is_single, sources))
    with (
        Predictor(
            _artefact(args),
            device=args.device,
            backend=args.backend,
            threads=args.threads,
            streams=1 if latency else None,
            card=card,
        ) as predictor,
        ThreadPoolExecutor(readers(args.threads), thread_name_prefix="hrnet-write") as writing,
    ):
        _check_applies(args, predictor.card)
        on_error = skip if args.skip_bad else None
        found = (
            result
            for source in sources
            for result in predictor.predict(
                source,
                stream=True,
                batch=args.batch or 1,
                on_error=on_error,
                draft=args.draft,
                allow_url=args.allow_url,
            )
        )
        finished: Generator[tuple[Result, Path | None], None, None]
        if folder is not None:
            finished = Saver(folder, writing, lambda text: print_message(args, f"hrnet-predict: {text}")).saved(found)
        else:
            finished = ((result, None) for result in found)
        with contextlib.closing(finished):
            for result, saved in bar(finished, unit="image"):
                count += 1
                _print(args, result, saved)
    print_message(args, f"{count} images on {predictor.device}" + (f", {len(skipped)} skipped" if skipped else ""))
    if folder is None:
        next_command(args, "hrnet-predict", args.artefact, *args.source, "--save", "out")
    return 2 if skipped else 0


def _artefact(args: argparse.Namespace) -> Path:
    """The file; what is none but has a name in the zoo is exported into the cache, and a line says which it is."""
    path = Path(args.artefact)
    if not has_name(args.artefact) or path.exists():
        return path
    from hrnet_deploy.export.named import named_artifact

    found, entry, digest = named_artifact(args.artefact)
    print_message(args, f"{entry.name}, published by {entry.source}, weights SHA-256 {digest}: {found}")
    return found


def _check_applies(args: argparse.Namespace, card: ModelCard) -> None:
    """Refuse options that would do nothing with this artefact."""
    if args.topk is not None and card.task is not Task.CLASSIFICATION:
        raise UsageError(f"--topk applies to classification only, got a net for {card.task.value}. Leave it out.")
    fixed = card.inputs[0].shape[0]
    if args.batch is not None and args.batch < 1:
        raise UsageError(f"batch must be at least 1, got {args.batch}. Use 1 for one image at a time.")
    if args.batch is not None and isinstance(fixed, int) and args.batch != fixed:
        raise UsageError(
            f"--batch must be {fixed}, the only one that {args.artefact} takes, got {args.batch}. Leave it out."
        )


def _card(path: Path) -> ModelCard:
    """The card of another file, for an engine that came without one."""
    from hrnet_deploy.integrity.inspect import inspect

    card = inspect(path).card
    if card is None:
        raise ArtifactError(f"--card must name a file with a model card, got {path}. Name the .onnx the engine is of.")
    return card


def main() -> int:
    """Entry point."""
    return launch("hrnet-predict", parse_args, run)


def _print(args: argparse.Namespace, result: Result, saved: Path | None) -> None:
    where = {} if saved is None else {"saved": str(saved)}
    if args.json:
        record = result.to_dict()
        if isinstance(result, ClassificationResult):
            record["topk"] = [{"class": name, "score": score} for name, score in result.topk(args.topk or _TOPK)]
        print_json(record | where, compact=True)
        return
    milliseconds = sum(result.speed.values())
    answer = result.summary(args.topk or _TOPK) if isinstance(result, ClassificationResult) else result.summary()
    text = f"{result.name}: {answer} ({milliseconds:.1f} ms)"
    print(" ".join(printable(part) for part in (text, *where.values())))  # one line, whatever a file is called
