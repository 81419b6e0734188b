"""The part of `hrnet-predict` that writes large results into a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from hrnet_deploy.batch_prediction import predict_dataset
from hrnet_deploy.batch_prediction.inputs import is_bulk
from hrnet_deploy.batch_prediction.part_writer import FORMATS
from hrnet_deploy.cli.console import print_json, print_message
from hrnet_deploy.cli.parser import IMAGES
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import ModelCard


def add_batch_flags(arguments: argparse.ArgumentParser) -> None:
    """Add the flags of large runs: --out and those that apply with it only."""
    group = arguments.add_argument_group(
        "large runs", "Write results in parts; the same command continues an interrupted run."
    )
    group.add_argument("--out", metavar="DIR", help="folder for the results, one part for each chunk of images")
    group.add_argument("--format", choices=FORMATS, help="format of the parts (default: jsonl)")
    group.add_argument("--chunk", type=IMAGES, metavar="N", help="images in a part (default: 1000)")
    group.add_argument("--executor", metavar="E", help="processes:N, ray://HOST:PORT, ray://local or dask://HOST:PORT")
    group.add_argument("--column", metavar="NAME", help="column of .parquet files that holds image bytes or paths")
    group.add_argument(
        "--root", metavar="DIR", help="folder above all paths in lists and .parquet files (default: the file's own)"
    )


def check_without_out(args: argparse.Namespace) -> None:
    """Refuse flags and sources of large runs where there is no --out."""
    flags = [name for name in ("format", "chunk", "executor", "column", "root") if getattr(args, name) is not None]
    if flags:
        raise UsageError(f"--{flags[0]} applies with --out only, got no --out. Add --out DIR.")
    bulk = next((source for source in args.source if is_bulk(source)), None)
    if bulk is not None:
        raise UsageError(f"lists, .tar and .parquet files need a folder for results, got {bulk} alone. Add --out DIR.")


def predict_into_folder(args: argparse.Namespace, artifact: Path | RemoteModel, card: ModelCard | None) -> int:
    """Predict into a folder, print the counts, and return 2 if an image could not be used."""
    for flag, given in (("--save", args.save is not None), ("--allow-url", args.allow_url)):
        if given:
            raise UsageError(f"{flag} applies without --out only, got --out {args.out}. Leave one of them out.")
    finished = predict_dataset(
        artifact,
        args.source,
        args.out,
        format=args.format or FORMATS[0],
        chunk=1000 if args.chunk is None else args.chunk,
        executor=args.executor,
        column=args.column,
        root=args.root,
        batch=1 if args.batch is None else args.batch,
        topk=args.topk,
        draft=args.draft,
        device=args.device,
        backend=args.backend,
        threads=args.threads,
        card=None if isinstance(artifact, RemoteModel) else card,
    )
    if args.json:
        print_json(finished.to_dict())
    resumed = f", {finished.resumed} of them from an earlier run" if finished.resumed else ""
    errors = f", {finished.errors} with an error in place of a prediction" if finished.errors else ""
    print_message(args, f"{finished.images} images in {finished.parts} parts{resumed}{errors}: {finished.folder}")
    return 2 if finished.errors else 0
