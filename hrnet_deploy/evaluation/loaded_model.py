"""Models that are opened for an evaluation, with their provenance."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.model_runner import Model
from hrnet_deploy.evaluation.run_info import EvaluatedModel
from hrnet_deploy.predictor import Predictor


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """An opened model and its provenance."""

    model: Model
    info: EvaluatedModel


@contextlib.contextmanager
def open_models(
    models: Sequence[str | Path | Model], *, device: str, backend: str, threads: int | None, streams: int | None = None
) -> Iterator[tuple[LoadedModel, ...]]:
    """Open artifacts, with the options of Predictor, and close at the end those that were given as paths.

    Raises:
        HrnetDeployError: as Predictor.
    """
    with contextlib.ExitStack() as stack:
        loaded = []
        for model in models:
            path = Path(model) if isinstance(model, (str, Path)) else None
            opened: Model = (
                stack.enter_context(Predictor(model, device=device, backend=backend, threads=threads, streams=streams))
                if isinstance(model, (str, Path))
                else model
            )
            loaded.append(LoadedModel(opened, _info(opened, path)))
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


def _info(model: Model, path: Path | None) -> EvaluatedModel:
    return EvaluatedModel(
        name=model.card.variant if path is None else path.name,
        path=path,
        sha256="" if path is None else sha256_file(path),
        size_bytes=0 if path is None else path.stat().st_size,
        card=model.card,
        device=model.device,
        backend=str(getattr(model, "backend", "")),
        arithmetic=str(getattr(model, "arithmetic", "")),
    )
