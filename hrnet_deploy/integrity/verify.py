"""The verification of an artifact: its digests, and its output fingerprint."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from hrnet_deploy.artifact.engine_sidecar import check_digest, check_size, sidecar_path
from hrnet_deploy.artifact.onnx_header import graph_sha256
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingDependencyError, VerificationError, one_line
from hrnet_deploy.integrity.fingerprint import GRAPH_KEY, check_fingerprint
from hrnet_deploy.integrity.inspect import Inspection
from hrnet_deploy.protocols import Engine
from hrnet_deploy.spec import ModelCard

FINGERPRINT = "fingerprint"
NO_CARD = "there is no card"


@dataclass(frozen=True)
class Check:
    """One verified property; the outcome is "ok" or "not checked"."""

    name: str
    outcome: str
    detail: str


def verify(inspection: Inspection, *, device: str = "auto") -> tuple[Check, ...]:
    """Recompute an artifact's digests and its output fingerprint; return the checks, also those that were not possible.

    This loads an engine, and engines are code: verify only those you trust. The device is for an engine; an
    .onnx file is verified on the CPU kernels that computed its fingerprint. ArtifactError: a digest or size differs.
    VerificationError: the output differs.
    """
    return (*_check_digests(inspection), _check_output(inspection, device))


def check_output(name: str, engine: Engine, card: ModelCard) -> Check:
    """Compare a model's output with the fingerprint in its card; `name` is for errors.

    ArtifactError: inputs and outputs are not the card's. VerificationError: the output differs. DeviceError: the
    runtime failed.
    """
    if (engine.inputs, engine.outputs) != (card.inputs, card.outputs):
        raise ArtifactError(
            f"{name} must have the inputs and outputs its card names, got {engine.inputs} and {engine.outputs}. "
            "Export it again."
        )
    result = check_fingerprint(engine, card)
    if result.verdict == "different":
        raise VerificationError(
            f"{name} must compute the output it had when it was exported, got another: {result.detail}. "
            "Export it again, or check the runtime that ran it."
        )
    return Check(FINGERPRINT, "ok" if result.verdict == "same" else "not checked", result.detail)


def _check_output(inspection: Inspection, device: str) -> Check:
    """Open an artifact and check its output."""
    if inspection.card is None:
        return Check(FINGERPRINT, "not checked", NO_CARD)
    device, backend = ("cpu", "onnxruntime") if inspection.kind == "onnx" else (device, "auto")
    try:
        engine = open_engine(inspection.path, device=device, backend=backend)
    except (DeviceError, MissingDependencyError) as error:
        return Check(FINGERPRINT, "not checked", one_line(error))
    with contextlib.closing(engine):
        return check_output(inspection.path.name, engine, inspection.card)


def _check_digests(inspection: Inspection) -> list[Check]:
    if inspection.kind == "onnx":
        return [_check_graph(inspection)]
    name, sidecar = inspection.path.name, inspection.sidecar
    if sidecar is None:
        detail = f"there is no {sidecar_path(inspection.path).name} beside it"
        return [Check("size", "not checked", detail), Check("SHA-256", "not checked", detail)]
    check_size(sidecar, name, inspection.size_bytes)
    check_digest(sidecar, name, inspection.sha256)
    return [
        Check("size", "ok", f"{inspection.size_bytes:,} bytes as in the sidecar"),
        Check("SHA-256", "ok", f"{inspection.sha256[:16]}… as in the sidecar"),
    ]


def _check_graph(inspection: Inspection) -> Check:
    wanted = inspection.card.lineage.get(GRAPH_KEY) if inspection.card else None
    if wanted is None:
        return Check("graph SHA-256", "not checked", "the card holds none; exports of this version store one")
    got = graph_sha256(inspection.path)
    if got != wanted:
        raise ArtifactError(
            f"graph of {inspection.path.name} must have SHA-256 {wanted:.12}…, got {got:.12}…: changed or damaged "
            "since. Export it again."
        )
    return Check("graph SHA-256", "ok", f"{got[:16]}… as when it was exported")
