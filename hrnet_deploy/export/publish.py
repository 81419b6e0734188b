"""Artifacts on disk: described, verified, written once, and moved to their place as a whole."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hrnet_deploy.artifact.card import card_metadata
from hrnet_deploy.artifact.engine_sidecar import sidecar_path, write_sidecar
from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.engines.difference import Difference
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.evaluation.waterfall_result import Waterfall
from hrnet_deploy.export.agreement import Agreement, AgreementError
from hrnet_deploy.export.card import build_card
from hrnet_deploy.export.engine.build import BuiltEngine, compile_graph
from hrnet_deploy.export.engine.parity import parity_images
from hrnet_deploy.export.gate.gate import AccuracyGate, Choice
from hrnet_deploy.export.gate.result import GateResult
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.quantize.converted_graph import ConvertedGraph
from hrnet_deploy.export.quantize.converter import Converter
from hrnet_deploy.export.verify import verify
from hrnet_deploy.integrity.fingerprint import artifact_fingerprint
from hrnet_deploy.quantization_info import Similarity
from hrnet_deploy.spec import ModelCard
from hrnet_deploy.triton.repository import TritonModel


@dataclass(frozen=True)
class ExportResult:
    """A finished artifact.

    Attributes:
        difference: distance from the original; None if it was not measured again.
        nodes: number of nodes in the graph.
        size_bytes: size on disk.
        kept_fp32: nodes of an FP16 graph left in float32 because half precision cannot hold their values.
        underflowed: weights that became zero in half precision.
        sensitivity: by block, the similarity of a graph in which that block alone is INT8; empty unless requested.
        engine: the engine that was built, if any.
        verdict: result of the accuracy gate, if there was a target.
        waterfall: loss of each step, if requested.
        agreement: share of equal outputs on validation images; None for float32, random weights and without images.
        triton: model in a Triton repository, if requested.
    """

    path: Path
    card: ModelCard
    difference: Difference | None
    nodes: int
    size_bytes: int
    kept_fp32: tuple[str, ...] = ()
    underflowed: int = 0
    sensitivity: Mapping[str, Similarity] = field(default_factory=dict)
    engine: BuiltEngine | None = None
    verdict: GateResult | None = None
    waterfall: Waterfall | None = None
    agreement: Agreement | None = None
    triton: TritonModel | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        """Return the path: a result serves where a path is expected."""
        return str(self.path)


def publish(converter: Converter, choice: Choice, step: Callable[[str], None]) -> ExportResult:
    """Convert, verify and write an artifact; an engine is built, and measured itself if it opens on this machine.

    Args:
        converter: Converts the graph of the export.
        choice: The blocks to keep in float.
        step: Shows the name of each stage.

    Returns:
        The artifact at its final path.

    Raises:
        VerificationError: The artifact differs too much from its original; nothing is written.
        AgreementError: Too few outputs on validation images are equal, and the plan does not keep such artifacts.
        AccuracyGateError: The target was missed, and the plan does not keep such artifacts.
        HrnetDeployError: Whatever building, evaluating and writing raise.
    """
    plan = converter.source.plan
    converted = converter.convert(choice.keep)
    # Labels tell more than similarity, unless the model is no better than chance.
    if choice.result is not None and choice.result.reference > 1 / len(plan.classes):
        converted = dataclasses.replace(converted, agreement=None)
    if converted.agreement is not None and not converted.agreement.passed and not plan.options.keep_rejected:
        raise AgreementError(converted.agreement)
    writer = ArtifactWriter(plan, step)
    with atomic_output(plan.path) as temporary:
        done = writer.write(converted, temporary, choice.result)
        runs_here = done.engine is not None and done.engine.parity is not None
        if choice.gate is not None and choice.result is not None and runs_here:
            done = _measured_engine(done, choice.result, choice.gate, converter, writer)
        if converted.implicit is not None and plan.int8.trt_cache is not None:
            from hrnet_deploy.calibration.tensorrt_cache import write_cache

            text = write_cache(converted.implicit.amax, plan.int8.trt_cache)
            temporary.with_suffix(".cache").write_text(text, encoding="utf-8")
    return dataclasses.replace(done, path=plan.path)


class ArtifactWriter:
    """Writes artifacts of one export, each into a folder of its own."""

    def __init__(self, plan: ExportPlan, step: Callable[[str], None]) -> None:
        self._plan, self._step = plan, step

    def write(self, converted: ConvertedGraph, path: Path, result: GateResult | None = None) -> ExportResult:
        """Describe, verify and write a graph; for an engine, build and inspect it, too.

        Args:
            converted: The graph.
            path: The file to write, alone in its folder.
            result: Result of the accuracy gate on that graph.

        Raises:
            VerificationError: The graph differs too much from its original.
            HrnetDeployError: Whatever building and writing raise.
        """
        from hrnet_deploy.exporters import onnx_file

        self._step("verifying")
        card, difference = self._verified(converted)
        if result is not None:
            card = _with_result(card, result)
        graph_path, engine = path.with_suffix(".onnx"), None
        onnx_file.write(converted.graph, graph_path, card_metadata(card))
        if self._plan.engine is not None:
            self._step("building")
            engine = compile_graph(
                converted.graph if converted.untyped is None else converted.untyped,
                card,
                self._plan.engine,
                path,
                reference=graph_path,
                images=parity_images(card, self._plan.user_images),
                implicit=converted.implicit,
                rebuild=self._plan.options.command_line(),
            )
            graph_path.unlink()
        return ExportResult(
            path,
            card,
            difference,
            len(converted.graph.graph.node),
            _size_bytes(path),
            converted.kept_fp32,
            converted.underflowed,
            converted.sensitivity,
            engine,
            result,
            agreement=converted.agreement,
        )

    def _verified(self, converted: ConvertedGraph) -> tuple[ModelCard, Difference]:
        """Run the graph from memory: its card with figures and fingerprint, and its distance from the original."""
        card = build_card(converted.graph, self._plan, converted.quantization)
        content = converted.graph.SerializeToString()
        engine = open_engine(content, device="cpu", backend="onnxruntime")
        try:
            difference = verify(engine, card, converted.batches)
            lineage = {**card.lineage, **artifact_fingerprint(content, engine, card)}
        finally:
            engine.close()
        info, measured = converted.quantization, {}
        if info is not None and info.validation is not None:
            found = info.validation
            difference = Difference(found.max_abs, found.max_rel, found.agreement)
        else:
            measured = {f"parity_{name}": value for name, value in dataclasses.asdict(difference).items()}
            if converted.agreement is not None:
                measured["heldout_agreement"] = converted.agreement.share
                measured["heldout_images"] = float(converted.agreement.images)
        return dataclasses.replace(card, measured=measured, lineage=lineage), difference


def _measured_engine(
    first: ExportResult, predicted: GateResult, gate: AccuracyGate, converter: Converter, writer: ArtifactWriter
) -> ExportResult:
    """Measure the engine on its GPU; if it misses the target, others are built and one of them takes its place."""
    home, name = first.path.parent, first.path.name
    engines = {predicted.chosen.kept: first}

    def build(blocks: tuple[str, ...]) -> Path:
        if blocks not in engines:
            folder = home / f"{len(engines)}"
            folder.mkdir()
            engines[blocks] = writer.write(converter.convert(blocks), folder / name)
        return engines[blocks].path

    result = gate.measure_engine(predicted, build)
    chosen = _with_engine_result(engines[result.chosen.kept], result)
    for part in (chosen.path, sidecar_path(chosen.path)):
        part.replace(home / part.name)
    for folder in {engine.path.parent for engine in engines.values()} - {home}:
        shutil.rmtree(folder)
    return chosen


def _with_engine_result(done: ExportResult, result: GateResult) -> ExportResult:
    """Write the measured result to an engine's sidecar; the plan file holds what was known before the build."""
    if done.engine is None:
        return done
    card = _with_result(done.card, result)
    engine = dataclasses.replace(done.engine, facts=dataclasses.replace(done.engine.facts, card=card))
    write_sidecar(engine.facts, sidecar_path(done.path))
    return dataclasses.replace(done, card=card, engine=engine, verdict=result, size_bytes=_size_bytes(done.path))


def _with_result(card: ModelCard, result: GateResult) -> ModelCard:
    lineage, measured = {**card.lineage, **result.lineage()}, {**card.measured, **result.measured()}
    return dataclasses.replace(card, lineage=lineage, measured=measured)


def _size_bytes(path: Path) -> int:
    return sum(part.stat().st_size for part in path.parent.iterdir() if part.is_file())
