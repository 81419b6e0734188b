"""The model of a Triton repository that an export ends in, or that is made of an artifact alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hrnet_deploy.engines.load import ENGINE_SUFFIXES
from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.option_declaration import flag
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.result import ExportResult
from hrnet_deploy.spec import ModelCard
from hrnet_deploy.triton.deployable import read_deployable
from hrnet_deploy.triton.repository import check_delay, check_repository, model_name, write_triton_repository

_OPTIONS = ("triton", "triton_delay_us", "images")


def only_deploys(options: ExportOptions, card: ModelCard | None) -> bool:
    """Return whether an artifact made here goes to a Triton repository without an export.

    Args:
        options: from the user.
        card: of the .onnx file that the options name; None for another source.

    Raises:
        UsageError: an engine, which nothing changes, with options that would.
    """
    if options.triton is None:
        return False
    others = options.given() - {"model", *_OPTIONS}
    if card is not None and options.precision == card.precision.value:
        others -= {"precision"}
    engine = Path(options.model or "").suffix.lower() in ENGINE_SUFFIXES
    if engine and others:
        name = min(others)
        raise UsageError(
            f"an engine goes to a Triton repository as it is, got {flag(name, getattr(options, name))} with "
            f"{options.model}. Leave it out."
        )
    return (engine or card is not None) and not others


def deploy_artifact(options: ExportOptions) -> ExportResult:
    """Write the artifact that the options name to their Triton repository; errors as of `write_triton_repository`."""
    path = Path(str(options.model))
    source = read_deployable(path)
    size_bytes = sum(file.stat().st_size for file in source.files.values())
    return deploy(ExportResult(path, source.card, None, source.nodes, size_bytes), options)


def deploy(result: ExportResult, options: ExportOptions) -> ExportResult:
    """Write an exported artifact to the Triton repository of the options, if there is one."""
    if options.triton is None:
        return result
    model = write_triton_repository(
        result.path, options.triton, delay_us=options.triton_delay_us, images=options.images
    )
    return dataclasses.replace(result, triton=model)


def check_deployment(options: ExportOptions) -> ExportOptions:
    """Refuse a Triton repository that cannot be written to, before the export.

    Returns:
        The options without those of Triton: a command that builds the artifact again leaves the repository alone.

    Raises:
        UsageError: as of `write_triton_repository`.
    """
    if options.triton is not None:
        check_delay(options.triton_delay_us)
        name = None if options.output is None else model_name(Path(options.output))
        check_repository(Path(options.triton), name, images=options.images)
    return dataclasses.replace(options, triton=None, triton_delay_us=None, images=False)
