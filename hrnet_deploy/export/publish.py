"""One artefact in a folder of its own: card, file, proof; of an engine also the build and what was seen in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hrnet_deploy.artifact.card import card_metadata
from hrnet_deploy.artifact.engine_sidecar import sidecar_path, write_sidecar
from hrnet_deploy.engines.difference import Difference
from hrnet_deploy.export.accuracy_waterfall import Waterfall
from hrnet_deploy.export.agreement import Agreement
from hrnet_deploy.export.card import card_of
from hrnet_deploy.export.engine.build import BuiltEngine, compile_graph
from hrnet_deploy.export.engine.parity import pictures
from hrnet_deploy.export.gate.result import GateResult
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.quantize.converter import ConvertedGraph
from hrnet_deploy.export.quantize.similarity import Score
from hrnet_deploy.export.source import ModelInfo
from hrnet_deploy.export.verify import verify
from hrnet_deploy.integrity.fingerprint import store_fingerprint
from hrnet_deploy.spec import ModelCard

IMPLICIT_LINEAGE = {"int8_path": "implicit", "measured_quantization": "qdq"}
"""On the card of an engine that TensorRT quantised by itself: its figures are of a graph with Q/DQ pairs."""


@dataclass(frozen=True)
class ExportResult:
    """A finished artefact.

    Attributes:
        path: where it is.
        card: what it says of itself.
        difference: how far it is from its original; None where that was not measured again.
        nodes: nodes in the graph.
        size_bytes: size on disk.
        kept_fp32: nodes of an FP16 graph left in FP32, since half precision could not hold their values.
        underflowed: weights that became zero in half precision.
        sensitivity: by block, what the net loses if that block alone is INT8; empty unless asked for.
        engine: of an engine, what was built and seen in it.
        verdict: of the accuracy gate, where there is one.
        waterfall: where its drop comes from, if asked for.
        agreement: answers it keeps on validation images; None of float32, of random weights and without images.
    """

    path: Path
    card: ModelCard
    difference: Difference | None
    nodes: int
    size_bytes: int
    kept_fp32: tuple[str, ...] = ()
    underflowed: int = 0
    sensitivity: Mapping[str, Score] = field(default_factory=dict)
    engine: BuiltEngine | None = None
    verdict: GateResult | None = None
    waterfall: Waterfall | None = None
    agreement: Agreement | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        """Return the path, so that a result serves where a path is taken."""
        return str(self.path)


class ArtifactWriter:
    """Writes artefacts of one net, each into a folder of its own."""

    def __init__(self, plan: ExportPlan, facts: ModelInfo, step: Callable[[str], None], rebuild: str) -> None:
        """Keep what they share.

        Args:
            plan: what was asked for.
            facts: of the net.
            step: told the name of each stage.
            rebuild: the command that makes the artefact again.
        """
        self._plan, self._facts, self._step, self._rebuild = plan, facts, step, rebuild

    def write(self, made: ConvertedGraph, path: Path, verdict: GateResult | None = None) -> ExportResult:
        """Describe, write, verify; of an engine also build and look inside.

        Args:
            made: the graph.
            path: the file to write; nothing else lies beside it.
            verdict: of the accuracy gate on that graph, where there is one.

        Returns:
            The artefact.

        Raises:
            VerificationError: it is too far from its original.
            HrnetDeployError: whatever building and writing raise.
        """
        from hrnet_deploy.exporters.onnx_file import write

        self._step("verifying")
        plan, quantized, compiled = self._plan, made.quantized, None
        card = card_of(made.graph, plan, self._facts, {} if quantized is None else quantized.lineage())
        if plan.engine is not None and plan.engine.implicit:
            card = dataclasses.replace(card, lineage={**card.lineage, **IMPLICIT_LINEAGE})
        graph_path = path.with_suffix(".onnx")
        write(made.graph, graph_path, card_metadata(card))
        difference = verify(graph_path, card, made.probes)
        measured = {f"parity_{name}": value for name, value in dataclasses.asdict(difference).items()}
        if made.agreement is not None:
            measured |= {"heldout_agreement": made.agreement.share, "heldout_images": float(made.agreement.images)}
        if quantized is not None:
            score = quantized.score
            difference = Difference(score.max_abs, score.max_rel, score.agreement)
            measured = quantized.measured()
        card = dataclasses.replace(
            card, measured=measured, lineage={**card.lineage, **store_fingerprint(graph_path, card)}
        )
        if verdict is not None:
            card = _with_verdict(card, verdict)
        if plan.engine is None:
            write(made.graph, graph_path, card_metadata(card))
        else:
            self._step("building")
            compiled = compile_graph(
                made.graph if made.untyped is None else made.untyped,
                card,
                plan.engine,
                path,
                reference=graph_path,
                images=pictures(card, plan.user_images),
                implicit=made.implicit,
                rebuild=self._rebuild,
            )
            graph_path.unlink()  # weights do not lie beside it: see `exporters.file.check_size`
        return ExportResult(
            path,
            card,
            difference,
            len(made.graph.graph.node),
            _size_bytes(path),
            made.kept_fp32,
            made.underflowed,
            {} if quantized is None else quantized.sensitivity,
            compiled,
            verdict,
            agreement=made.agreement,
        )


def write_verdict(done: ExportResult, verdict: GateResult) -> ExportResult:
    """Let an engine's sidecar say what was measured of it; the plan itself holds what was known before it was built.

    Args:
        done: the artefact; an .onnx file was written with its verdict.
        verdict: on it.

    Returns:
        The artefact with the verdict in its card.

    Raises:
        UsageError: the place cannot be written to.
    """
    if done.engine is None:
        return done
    card = _with_verdict(done.card, verdict)
    built = dataclasses.replace(done.engine, facts=dataclasses.replace(done.engine.facts, card=card))
    write_sidecar(built.facts, sidecar_path(done.path))
    return dataclasses.replace(done, card=card, engine=built, verdict=verdict, size_bytes=_size_bytes(done.path))


def _with_verdict(card: ModelCard, verdict: GateResult) -> ModelCard:
    lineage, measured = {**card.lineage, **verdict.lineage()}, {**card.measured, **verdict.measured()}
    return dataclasses.replace(card, lineage=lineage, measured=measured)


def _size_bytes(path: Path) -> int:
    return sum(part.stat().st_size for part in path.parent.iterdir() if part.is_file())
