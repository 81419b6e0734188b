"""The last step of an export: the artefact is judged, and then there all at once or not at all."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from hrnet_deploy.artifact.engine_sidecar import sidecar_path
from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.export.agreement import AgreementError
from hrnet_deploy.export.gate.gate import Gate
from hrnet_deploy.export.gate.result import GateResult
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.publish import ArtifactWriter, ExportResult, write_verdict
from hrnet_deploy.export.quantize.converter import Converter
from hrnet_deploy.export.source import ModelInfo


def deliver(
    finisher: Converter, plan: ExportPlan, facts: ModelInfo, step: Callable[[str], None], rebuild: str
) -> ExportResult:
    """Keep within the budget, write and verify; an engine that opens on this machine is judged itself.

    Args:
        finisher: of the net.
        plan: what was asked for.
        facts: of the net.
        step: told the name of each stage.
        rebuild: the command that makes the artefact again.

    Returns:
        The artefact.

    Raises:
        VerificationError: it is too far from its original; nothing is left behind.
        AgreementError: it keeps too few answers on validation images, and nothing shall be written then.
        GateMissedError: the budget was missed, and nothing shall be written then.
        HrnetDeployError: whatever building, evaluating and writing raise.
    """
    gate = None if plan.accuracy is None else Gate(finisher, plan, facts, plan.accuracy)
    verdict = None if gate is None else gate.predict()
    made = finisher.finish(() if verdict is None else verdict.chosen.kept)
    # Labels say more than likeness, unless the net has none right that chance would not have.
    if verdict is not None and verdict.reference > 1 / len(plan.classes):
        made = dataclasses.replace(made, agreement=None)
    if made.agreement is not None and not made.agreement.passed and not plan.options.keep_rejected:
        raise AgreementError(made.agreement)
    writer = ArtifactWriter(plan, facts, step, rebuild)
    with atomic_output(plan.path) as temporary:
        done = writer.write(made, temporary, verdict)
        if gate is not None and verdict is not None:
            done = _measured(done, verdict, gate, finisher, writer)
        if made.implicit is not None and plan.int8.trt_cache is not None:
            from hrnet_deploy.calibration.tensorrt_cache import write_cache

            text = write_cache(made.implicit.amax, plan.int8.trt_cache)
            temporary.with_suffix(".cache").write_text(text, encoding="utf-8")
    return dataclasses.replace(done, path=plan.path)


def _measured(
    first: ExportResult, predicted: GateResult, gate: Gate, finisher: Converter, writer: ArtifactWriter
) -> ExportResult:
    """The engine judged on its GPU, if that is here; over budget others are built, and one of them takes its place."""
    if first.engine is None or first.engine.parity is None:  # no engine, or none that opens here
        return first
    home, name = first.path.parent, first.path.name
    engines = {predicted.chosen.kept: first}

    def build(blocks: tuple[str, ...]) -> Path:
        if blocks not in engines:
            folder = home / f"{len(engines)}"
            folder.mkdir()
            engines[blocks] = writer.write(finisher.finish(blocks), folder / name)
        return engines[blocks].path

    verdict = gate.measure(predicted, build)
    chosen = write_verdict(engines[verdict.chosen.kept], verdict)
    for part in (chosen.path, sidecar_path(chosen.path)):
        part.replace(home / part.name)
    for folder in {engine.path.parent for engine in engines.values()} - {home}:
        shutil.rmtree(folder)
    return chosen
