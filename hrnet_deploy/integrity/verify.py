"""Whether an artefact is what it was when it was made: digests, and the golden answer."""

from __future__ import annotations

from dataclasses import dataclass

from hrnet_deploy.artifact.engine_sidecar import sidecar_path
from hrnet_deploy.artifact.onnx_header import graph_sha256
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingDependencyError, VerificationError
from hrnet_deploy.integrity.fingerprint import GRAPH_KEY, check_fingerprint
from hrnet_deploy.integrity.inspect import Inspection


@dataclass(frozen=True)
class Check:
    """One thing that was verified.

    Attributes:
        name: what.
        outcome: "ok" or "not checked".
        detail: one clause for a person.
    """

    name: str
    outcome: str
    detail: str


def verify(found: Inspection, *, device: str = "auto", backend: str = "auto") -> tuple[Check, ...]:
    """Recompute what was written down when the artefact was made, and ask for its golden answer again.

    An engine is loaded for that, and engines are code: verify only those you trust.

    Args:
        found: from `inspect`.
        device: for an engine; an .onnx file is verified on the CPU kernels that gave its golden answer.
        backend: for an engine.

    Returns:
        What was checked, and what could not be.

    Raises:
        ArtifactError: a digest or size is another.
        VerificationError: the answer is another.
    """
    checks = [*_digests(found)]
    if found.card is None:
        return (*checks, Check("golden answer", "not checked", "there is no card"))
    card = found.card
    runs = {"device": device, "backend": backend}
    if found.kind == "onnx":
        runs = {"device": "cpu", "backend": "onnxruntime"}
    try:
        engine = open_engine(found.path, **runs)  # type: ignore[arg-type]  # two texts
    except (DeviceError, MissingDependencyError) as error:
        return (*checks, Check("golden answer", "not checked", " ".join(str(error).split())))
    try:
        if (engine.inputs, engine.outputs) != (card.inputs, card.outputs):
            raise ArtifactError(
                f"{found.path.name} must have the inputs and outputs its card names, got {engine.inputs} and "
                f"{engine.outputs}. Export it again."
            )
        golden = check_fingerprint(engine, card)
    finally:
        engine.close()
    if golden.verdict == "different":
        raise VerificationError(
            f"{found.path.name} must answer as when it was exported, got another answer: {golden.detail}. "
            "Export it again, or check the runtime that ran it."
        )
    outcome = "ok" if golden.verdict == "same" else "not checked"
    return (*checks, Check("golden answer", outcome, golden.detail))


def _digests(found: Inspection) -> list[Check]:
    name = found.path.name
    if found.kind == "onnx":
        wanted = found.card.lineage.get(GRAPH_KEY) if found.card else None
        if wanted is None:
            return [Check("graph SHA-256", "not checked", "the card holds none; exports of this version store one")]
        got = graph_sha256(found.path)
        if got != wanted:
            raise ArtifactError(
                f"graph of {name} must have SHA-256 {wanted:.12}…, got {got:.12}…: changed or damaged since. "
                "Export it again."
            )
        return [Check("graph SHA-256", "ok", f"{got[:16]}… as when it was exported")]
    facts = found.facts
    if facts is None:
        detail = f"there is no {sidecar_path(found.path).name} beside it"
        return [Check("size", "not checked", detail), Check("SHA-256", "not checked", detail)]
    if found.size_bytes != facts.plan_bytes:
        raise ArtifactError(
            f"{name} must have {facts.plan_bytes:,} bytes, got {found.size_bytes:,}. Build it again: {facts.rebuild}"
        )
    if found.sha256 != facts.plan_sha256:
        raise ArtifactError(
            f"{name} must have SHA-256 {facts.plan_sha256[:12]}…, got {found.sha256[:12]}…: damaged, or not its "
            f"sidecar's. Build it again: {facts.rebuild}"
        )
    return [
        Check("size", "ok", f"{found.size_bytes:,} bytes as in the sidecar"),
        Check("SHA-256", "ok", f"{found.sha256[:16]}… as in the sidecar"),
    ]
