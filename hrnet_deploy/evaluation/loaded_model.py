"""Models that are opened for an evaluation, with their provenance."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.engines.remote.address import is_url
from hrnet_deploy.engines.remote.model_info import reported_sha256
from hrnet_deploy.engines.remote.remote_model import RemoteModel, runtime_of
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.model_runner import Model
from hrnet_deploy.evaluation.run_info import EvaluatedModel
from hrnet_deploy.predictor import Predictor

Artifact = str | Path | RemoteModel
"""A file, or a model on a V2 server: its URL, or its URL with a token or a card."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """An opened model and its provenance."""

    model: Model
    info: EvaluatedModel


@contextlib.contextmanager
def open_models(
    models: Sequence[Artifact | Model], *, device: str, backend: str, threads: int | None, streams: int | None = None
) -> Iterator[tuple[LoadedModel, ...]]:
    """Open artifacts, with the options of Predictor, and close at the end those that were not given as models.

    Device and backend are for paths, and for URLs where there is no path.

    Raises:
        HrnetDeployError: as Predictor.
    """
    with contextlib.ExitStack() as stack:
        loaded = []
        for model in models:
            if not isinstance(model, (str, Path, RemoteModel)):
                loaded.append(LoadedModel(model, _info(model, None)))
                continue
            own_device, own_backend = runtime_of(model, models, device, backend)
            predictor = Predictor(model, device=own_device, backend=own_backend, threads=threads, streams=streams)
            stack.enter_context(predictor)
            loaded.append(LoadedModel(predictor, _info(predictor, identify(model, predictor.metadata))))
        yield tuple(loaded)


def check_comparable(reference: EvaluatedModel, candidate: EvaluatedModel) -> None:
    """Refuse a candidate whose task or classes differ from the reference's."""
    ours, theirs = reference.card, candidate.card
    if ours.task is not theirs.task:
        raise UsageError(
            f"candidate {candidate.name} must do {ours.task.value} as the reference {reference.name}, got"
            f" {theirs.task.value}. Compare models of one task."
        )
    if len(ours.classes) != len(theirs.classes):
        raise UsageError(
            f"candidate {candidate.name} must have the {len(ours.classes)} classes of the reference {reference.name},"
            f" got {len(theirs.classes)}. Compare models of the same classes."
        )
    for index, (our, their) in enumerate(zip(ours.classes, theirs.classes, strict=True)):
        if our != their:
            raise UsageError(
                f"candidate {candidate.name} must have the classes of the reference {reference.name}, got '{their}' for"
                f" '{our}' at index {index}. Export both with the same --classes."
            )


class Identity(NamedTuple):
    """What tells an artifact from another one.

    Attributes:
        name: file name, or URL.
        path: None for a model on a server.
        sha256: digest of the file in hex, which a server reports; "" if it does not.
        size_bytes: 0 for a model on a server.
    """

    name: str
    path: Path | None
    sha256: str
    size_bytes: int


def identify(artifact: Artifact, metadata: Mapping[str, str]) -> Identity:
    """Name an artifact and its content; `metadata` is that of the opened artifact."""
    artifact = RemoteModel(artifact) if is_url(artifact) else artifact
    if isinstance(artifact, RemoteModel):
        return Identity(str(artifact), None, reported_sha256(metadata), 0)
    path = Path(artifact)
    return Identity(path.name, path, sha256_file(path), path.stat().st_size)


def _info(model: Model, identity: Identity | None) -> EvaluatedModel:
    identity = identity or Identity(model.card.variant, None, "", 0)
    return EvaluatedModel(
        **identity._asdict(),
        card=model.card,
        device=model.device,
        backend=str(getattr(model, "backend", "")),
        arithmetic=str(getattr(model, "arithmetic", "")),
    )
