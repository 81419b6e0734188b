"""The last step of an export: card, file, proof, and all of it at once or nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hrnet_deploy.artifact import atomic_output, card_metadata
from hrnet_deploy.engines.compare import Difference
from hrnet_deploy.evaluation.golden import seal
from hrnet_deploy.pipeline.compiling import Compiled, compile_graph
from hrnet_deploy.pipeline.describing import card_of
from hrnet_deploy.pipeline.facts import Facts
from hrnet_deploy.pipeline.finishing import Finished
from hrnet_deploy.pipeline.parity import pictures
from hrnet_deploy.pipeline.planning import Plan
from hrnet_deploy.pipeline.scoring import Score
from hrnet_deploy.pipeline.verdict import Verdict
from hrnet_deploy.pipeline.verifying import verify
from hrnet_deploy.pipeline.waterfall import Waterfall
from hrnet_deploy.spec import ModelCard


@dataclass(frozen=True)
class Exported:
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
    """

    path: Path
    card: ModelCard
    difference: Difference | None
    nodes: int
    size_bytes: int
    kept_fp32: tuple[str, ...] = ()
    underflowed: int = 0
    sensitivity: Mapping[str, Score] = field(default_factory=dict)
    engine: Compiled | None = None
    verdict: Verdict | None = None
    waterfall: Waterfall | None = None


def write_artifact(made: Finished, plan: Plan, facts: Facts, step: Callable[[str], None], rebuild: str) -> Exported:
    """Describe, write, verify; of an engine also build and look inside.

    Args:
        made: the graph.
        plan: what was asked for.
        facts: of the net.
        step: told the name of each stage.
        rebuild: the command that makes the artefact again.

    Returns:
        The artefact.

    Raises:
        VerificationError: it is too far from its original; nothing is left behind.
        HrnetDeployError: whatever building and writing raise.
    """
    from hrnet_deploy.exporters.file import write

    making = (part.lineage() for part in (made.quantized, made.verdict) if part is not None)
    card = card_of(made.graph, plan, facts, {name: text for part in making for name, text in part.items()})
    with atomic_output(plan.path) as temporary:
        graph_path = temporary.with_suffix(".onnx")
        write(made.graph, graph_path, card_metadata(card))
        difference = verify(graph_path, card, made.probes)
        measured = {f"parity_{name}": value for name, value in dataclasses.asdict(difference).items()}
        if made.quantized is not None:
            score = made.quantized.score
            difference = Difference(score.max_abs, score.max_rel, score.agreement)
            measured = made.quantized.measured()
        if made.verdict is not None:
            measured |= made.verdict.measured()
        card = dataclasses.replace(card, measured=measured, lineage={**card.lineage, **seal(graph_path, card)})
        compiled = None
        if plan.engine is None:
            write(made.graph, graph_path, card_metadata(card))
        else:
            step("building")
            compiled = compile_graph(
                made.graph if made.untyped is None else made.untyped,
                card,
                plan.engine,
                temporary,
                reference=graph_path,
                images=pictures(card, plan.int8.evaluation or plan.int8.data),
                amax=None if made.quantized is None else made.quantized.table.amax(),
                rebuild=rebuild,
            )
            for part in temporary.parent.glob(f"{graph_path.name}*"):
                part.unlink()
        size_bytes = sum(part.stat().st_size for part in temporary.parent.iterdir())
        if made.quantized is not None and plan.int8.trt_cache is not None:
            from hrnet_deploy.calibration.tensorrt_cache import write_cache

            text = write_cache(made.quantized.table.amax(), plan.int8.trt_cache)
            temporary.with_suffix(".cache").write_text(text, encoding="utf-8")
    return Exported(
        plan.path,
        card,
        difference,
        len(made.graph.graph.node),
        size_bytes,
        made.kept_fp32,
        made.underflowed,
        {} if made.quantized is None else made.quantized.sensitivity,
        compiled,
        made.verdict,
    )
