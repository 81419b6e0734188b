"""The part of `hrnet-predict` that writes features into a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hrnet_deploy.batch_prediction.feature_file import open_feature_file
from hrnet_deploy.cli.console import print_json, print_message
from hrnet_deploy.errors import UsageError
from hrnet_deploy.imaging.sources import OnError
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.system.progress import bar


def check_feature_flags(args: argparse.Namespace) -> None:
    """Refuse flags that have no effect beside --features."""
    others = {"--save": args.save, "--topk": args.topk, "--out": args.out}
    flag = next((flag for flag, value in others.items() if value is not None), None)
    if args.features is not None and flag is not None:
        raise UsageError(f"{flag} applies without --features only, got both. Leave one of them out.")


def write_features(
    args: argparse.Namespace, predictor: Predictor, sources: Sequence[Any], on_error: OnError | None
) -> int:
    """Write the features of all images into one file; return how many."""
    count, path = 0, Path(args.features)
    shapes: dict[str, list[int]] = {}
    with open_feature_file(path) as file:
        for source in sources:
            results = predictor.features(
                source,
                stream=True,
                batch=args.batch or 1,
                on_error=on_error,
                draft=args.draft,
                allow_url=args.allow_url,
            )
            for result in bar(results, unit="image"):
                file.add(result)
                shapes = shapes or {name: list(array.shape) for name, array in result.arrays().items()}
                count += 1
    if args.json:
        print_json({"features": str(path), "images": count, "shapes": shapes}, compact=True)
    listed = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    print_message(args, f"{path}: {listed or 'no images'}")
    return count
