"""The verification of an artifact: its digests, and its output fingerprint."""

from __future__ import annotations

from dataclasses import dataclass

from hrnet_deploy.artifact.engine_sidecar import check_digest, check_size, sidecar_path
from hrnet_deploy.artifact.onnx_header import graph_sha256
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingDependencyError, VerificationError, one_line
from hrnet_deploy.integrity.fingerprint import GRAPH_KEY, check_fingerprint
from hrnet_deploy.integrity.inspect import Inspection

_FINGERPRINT = "fingerprint"


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


def _check_output(inspection: Inspection, device: str) -> Check:
    card, name = inspection.card, inspection.path.name
    if card is None:
        return Check(_FINGERPRINT, "not checked", "there is no card")
    device, backend = ("cpu", "onnxruntime") if inspection.kind == "onnx" else (device, "auto")
    try:
        engine = open_engine(inspection.path, device=device, backend=backend)
    except (DeviceError, MissingDependencyError) as error:
        return Check(_FINGERPRINT, "not checked", one_line(error))
    try:
        if (engine.inputs, engine.outputs) != (card.inputs, card.outputs):
            raise ArtifactError(
                f"{name} must have the inputs and outputs its card names, got {engine.inputs} and {engine.outputs}. "
                "Export it again."
            )
        result = check_fingerprint(engine, card)
    finally:
        engine.close()
    if result.verdict == "different":
        raise VerificationError(
            f"{name} must compute the output it had when it was exported, got another: {result.detail}. "
            "Export it again, or check the runtime that ran it."
        )
    return Check(_FINGERPRINT, "ok" if result.verdict == "same" else "not checked", result.detail)


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
