"""Artifacts on a command line: files, and URLs of models on V2 servers with their token and card."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hrnet_deploy.engines.remote.address import is_url
from hrnet_deploy.engines.remote.remote_model import TIMEOUT_S, RemoteModel, Token
from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.spec import ModelCard

URL_HELP = "URL of a model on a V2 server (http://HOST:PORT/v2/models/NAME)"


def add_server_flags(arguments: argparse.ArgumentParser, card_help: str | None = None) -> None:
    """Add the flags for models on servers: --card, --token-file, --timeout."""
    arguments.add_argument(
        "--card",
        metavar="FILE",
        help=card_help or "use the model card of this .onnx, or .engine with its sidecar, for models on servers",
    )
    arguments.add_argument(
        "--token-file",
        metavar="FILE",
        help="file with one line, the bearer token for the server; it is sent over https, or to this machine",
    )
    arguments.add_argument(
        "--timeout",
        type=float,
        metavar="S",
        help=f"seconds for one request to the server (default: {TIMEOUT_S:g})",
    )


def server_words(args: argparse.Namespace) -> list[str]:
    """Repeat the flags for models on servers, for the next command.

    Args:
        args: the command's, with `card`, `token_file` and `timeout`.

    Returns:
        The words.
    """
    timeout = None if args.timeout is None else f"{args.timeout:g}"
    given = (("--card", args.card), ("--token-file", args.token_file), ("--timeout", timeout))
    return [word for flag, value in given if value is not None for word in (flag, value)]


def locate(args: argparse.Namespace, artifacts: Sequence[str], card: ModelCard | None) -> list[Path | RemoteModel]:
    """Find the artifacts of a command.

    Args:
        args: the command's, with `token_file` and `timeout`.
        artifacts: paths and URLs.
        card: the card for models on servers; None for their own.

    Returns:
        Paths, and models on servers with their token and card.

    Raises:
        UsageError: a malformed URL, a timeout without a server, a token without a server or for several of them, or
            one that cannot be used.
        MissingFileError: the token's file does not exist.
    """
    served = [RemoteModel(artifact, card=card) for artifact in artifacts if is_url(artifact)]
    token = None
    if args.token_file is not None:
        origins = sorted({each.address.origin for each in served})
        if len(origins) != 1:
            found = ", ".join(origins) or "only files"
            raise UsageError(f"--token-file must be for one server, got {found}. Name models of one server.")
        token = Token.read(Path(args.token_file))
    if args.timeout is not None and not served:
        raise UsageError(
            f"--timeout must be for a model on a server, got {args.timeout:g} for files only. Leave it out."
        )
    timeout_s = TIMEOUT_S if args.timeout is None else args.timeout
    return [
        RemoteModel(artifact, token=token, card=card, timeout_s=timeout_s) if is_url(artifact) else Path(artifact)
        for artifact in artifacts
    ]


def locate_with_card(args: argparse.Namespace, artifacts: Sequence[str]) -> list[Path | RemoteModel]:
    """Find the artifacts of a command whose --card is for models on servers.

    Args:
        args: the command's, with `card` and `token_file`.
        artifacts: paths and URLs.

    Returns:
        As `locate`.

    Raises:
        HrnetDeployError: as `locate` and `read_card`; also for a card without a server.
    """
    if args.card is not None and not any(map(is_url, artifacts)):
        raise UsageError(f"--card must be for a model on a server, got {args.card} for files only. Leave it out.")
    return locate(args, artifacts, read_card(args.card))


def read_card(path: str | None) -> ModelCard | None:
    """Read the card of another file.

    Args:
        path: an .onnx file, or an .engine file with its sidecar; None for no card.

    Returns:
        The card, or None.

    Raises:
        ArtifactError: the file has none.
    """
    if path is None:
        return None
    from hrnet_deploy.integrity.inspect import inspect

    card = inspect(Path(path)).card
    if card is None:
        raise ArtifactError(f"--card must name a file with a model card, got {path}. Name the .onnx it was made from.")
    return card
