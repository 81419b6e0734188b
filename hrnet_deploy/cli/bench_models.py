"""The models that `hrnet-bench` is given by name, such as hrnet_w18,hrnet_w48, as artifacts for measuring speed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hrnet_deploy.cli.console import print_message
from hrnet_deploy.engines.remote.address import is_url
from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.models.zoo import named_entry
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.progress import bar


def named_models(args: argparse.Namespace) -> list[str]:
    """Return the variants that the arguments name; none where they are files or URLs.

    UsageError: names and files together, or --precision for files, which have their own.
    """
    words = [word.strip() for text in args.artifacts for word in _parts(text)]
    variants = {word: _variant(word) for word in words}
    named = {word: variant for word, variant in variants.items() if variant is not None}
    if named and len(named) < len(variants):
        name, other = next(iter(named)), next(word for word in words if word not in named)
        raise UsageError(f"artifacts must be all names or all files, got {name} and {other}. Measure them in turn.")
    if args.precision is not None and not named:
        raise UsageError(f"--precision applies to models by name only, got {args.artifacts[0]}. Leave it out.")
    return list(dict.fromkeys(named.values()))


def speed_artifacts(args: argparse.Namespace, variants: Sequence[str]) -> list[Path]:
    """Export what is missing, in each precision of --precision, and say what these files are."""
    from hrnet_deploy.export.speed_artifact import speed_artifact

    wanted = [(variant, precision) for variant in variants for precision in _precisions(args.precision or "fp32")]
    print_message(args, "hrnet-bench: models by name have random weights and serve to measure speed only")
    return [speed_artifact(variant, precision) for variant, precision in bar(wanted, desc="exporting", unit="model")]


def _parts(text: str) -> list[str]:
    return text.split(",") if not is_url(text) and not Path(text).exists() else [text]


def _variant(word: str) -> str | None:
    """Return the architecture that a word names; None for a file, a URL or another word."""
    if is_url(word) or Path(word).exists():
        return None
    if (entry := named_entry(word)) is not None:
        return entry.variant
    try:
        return find_variant(word).name
    except UsageError:
        return None


def _precisions(text: str) -> list[Precision]:
    known = {precision.value: precision for precision in Precision}
    words = [word.strip().lower() for word in text.split(",")]
    wrong = next((word for word in words if word not in known), None)
    if wrong is not None:
        raise UsageError(f"--precision must be a list of {', '.join(known)}, got '{wrong}'. Example: fp32,int8.")
    return [known[word] for word in dict.fromkeys(words)]
