"""Artifacts on disk: described, verified, written once, and moved to their place as a whole."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from hrnet_deploy.artifact.card import card_metadata
from hrnet_deploy.artifact.engine_sidecar import sidecar_path, write_sidecar
from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.calibration.tensorrt_cache import write_cache
from hrnet_deploy.engines.difference import Difference
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.export.engine.build import compile_graph
from hrnet_deploy.export.gate.gate import AccuracyGate
from hrnet_deploy.export.gate.result import GateResult
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.quantize.converter import ConvertedGraph, Converter
from hrnet_deploy.export.result import AgreementError, ExportResult
from hrnet_deploy.export.verify import verify
from hrnet_deploy.exporters import onnx_file
from hrnet_deploy.integrity.fingerprint import artifact_fingerprint
from hrnet_deploy.spec import ModelCard

Step = Callable[[str], None]
"""Shows that a step of the export begins."""


def publish(converter: Converter, gate: AccuracyGate | None, step: Step) -> ExportResult:
    """Convert, verify and write an artifact; an engine is built, and measured itself if it opens on this machine."""
    plan = converter.plan
    result = None if gate is None else gate.result
    converted = converter.convert(() if result is None else result.chosen.kept)
    # Labels tell more than similarity, unless the model is no better than chance.
    judged = converted.agreement
    if result is not None and result.reference > 1 / len(plan.classes) and judged is not None and not judged.feature:
        converted = dataclasses.replace(converted, agreement=None)
    if converted.agreement is not None and not converted.agreement.passed and not plan.options.keep_rejected:
        raise AgreementError(converted.agreement)
    with atomic_output(plan.path) as temporary:
        done = _write(plan, converted, temporary, step, result)
        if gate is not None and done.engine is not None and done.engine.parity is not None:  # the engine runs here
            done = _measured_engine(done, gate, converter, step)
        if converted.implicit is not None and plan.int8.trt_cache is not None:
            text = write_cache(converted.implicit.amax, plan.int8.trt_cache)
            temporary.with_suffix(".cache").write_text(text, encoding="utf-8")
    return dataclasses.replace(done, path=plan.path)


def _write(
    plan: ExportPlan, converted: ConvertedGraph, path: Path, step: Step, result: GateResult | None = None
) -> ExportResult:
    """Describe, verify and write a graph, alone in its folder; for an engine, build and inspect it, too."""
    step("verifying")
    card, difference = _verified(plan, converted)
    if result is not None:
        card = _with_result(card, result)
    graph_path, engine = path.with_suffix(".onnx"), None
    onnx_file.write(converted.graph, graph_path, card_metadata(card))
    if plan.engine is not None:
        step("building")
        engine = compile_graph(
            converted.graph if converted.untyped is None else converted.untyped,
            card,
            plan.engine,
            path,
            reference=graph_path,
            images=plan.user_images,
            implicit=converted.implicit,
            rebuild=plan.options.command_line(),
        )
        graph_path.unlink()
    return ExportResult(
        path=path,
        card=card,
        difference=difference,
        nodes=len(converted.graph.graph.node),
        size_bytes=_size_bytes(path),
        kept_fp32=converted.kept_fp32,
        underflowed=converted.underflowed,
        sensitivity=converted.sensitivity,
        engine=engine,
        verdict=result,
        agreement=converted.agreement,
        features=converted.features,
    )


def _verified(plan: ExportPlan, converted: ConvertedGraph) -> tuple[ModelCard, Difference]:
    """Run the graph from memory: its card with figures and fingerprint, and its distance from the original."""
    card = plan.card(converted.graph, converted.quantization)
    content = converted.graph.SerializeToString()
    engine = open_engine(content, device="cpu", backend="onnxruntime")
    try:
        difference, lowest = verify(engine, card, converted.batches)
        lineage = {**card.lineage, **artifact_fingerprint(content, engine, card)}
    finally:
        engine.close()
    info = converted.quantization
    measured = {f"parity_cosine_{name}": cosine for name, cosine in lowest.items()}
    for name, cosine in converted.features.items():
        measured |= {f"cosine_{name}": cosine.mean, f"cosine_worst_{name}": cosine.worst}
    if info is not None and info.validation is not None:
        found = info.validation
        difference = Difference(found.max_abs, found.max_rel, found.agreement)
    else:
        measured |= {f"parity_{name}": value for name, value in dataclasses.asdict(difference).items()}
        if converted.agreement is not None:
            if not converted.agreement.feature:
                measured["heldout_agreement"] = converted.agreement.share
            measured["heldout_images"] = float(converted.agreement.images)
    return dataclasses.replace(card, measured=measured, lineage=lineage), difference


def _measured_engine(first: ExportResult, gate: AccuracyGate, converter: Converter, step: Step) -> ExportResult:
    """Measure the engine on its GPU; if it misses the target, others are built and one of them takes its place."""
    home, name = first.path.parent, first.path.name
    engines = {gate.result.chosen.kept: first}

    def build(blocks: tuple[str, ...]) -> Path:
        if blocks not in engines:
            folder = home / f"{len(engines)}"
            folder.mkdir()
            engines[blocks] = _write(converter.plan, converter.convert(blocks), folder / name, step)
        return engines[blocks].path

    result = gate.measure_engine(build)
    chosen = engines[result.chosen.kept]
    if chosen.engine is not None:  # the sidecar gets the result; the plan file holds what was known before the build
        card = _with_result(chosen.card, result)
        engine = dataclasses.replace(chosen.engine, facts=dataclasses.replace(chosen.engine.facts, card=card))
        write_sidecar(engine.facts, sidecar_path(chosen.path))
        size_bytes = _size_bytes(chosen.path)
        chosen = dataclasses.replace(chosen, card=card, engine=engine, verdict=result, size_bytes=size_bytes)
    for part in (chosen.path, sidecar_path(chosen.path)):
        part.replace(home / part.name)
    for folder in {engine.path.parent for engine in engines.values()} - {home}:
        shutil.rmtree(folder)
    return chosen


def _with_result(card: ModelCard, result: GateResult) -> ModelCard:
    lineage, measured = {**card.lineage, **result.lineage()}, {**card.measured, **result.measured()}
    return dataclasses.replace(card, lineage=lineage, measured=measured)


def _size_bytes(path: Path) -> int:
    return sum(part.stat().st_size for part in path.parent.iterdir() if part.is_file())
