"""The accuracy gate: measure what an artefact loses, and move blocks to floating point until it loses little enough."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hrnet_deploy.evaluation import Evaluation, Model, compare
from hrnet_deploy.export.card import card_of, plain_card
from hrnet_deploy.export.gate.accuracy_target import AccuracyTarget
from hrnet_deploy.export.gate.in_memory_model import CachedModel, OnnxModel
from hrnet_deploy.export.gate.result import AccuracyGateError, GateResult, Trial, within
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.source import ModelInfo
from hrnet_deploy.report.standing import TENSORRT, standing
from hrnet_deploy.spec import Precision

if TYPE_CHECKING:
    import onnx

Blocks = tuple[str, ...]
"""Names of blocks moved to floating point for the sake of accuracy, most sensitive first."""


class Candidates(Protocol):
    """Graphs of one net in one precision."""

    @property
    def original(self) -> onnx.ModelProto:
        """The float32 graph, without the ends the artefact will have."""
        ...

    def order(self) -> Blocks:
        """Blocks that may be kept in floating point, most sensitive first; measured once."""
        ...

    def render(self, blocks: Blocks) -> onnx.ModelProto:
        """The graph as it would be written with those kept."""
        ...


class Gate:
    """Measures candidates on labelled images, least in floating point first, and remembers every attempt."""

    def __init__(self, candidates: Candidates, plan: ExportPlan, facts: ModelInfo, budget: AccuracyTarget) -> None:
        """Open the float32 graph, whose answers every candidate is compared with.

        Args:
            candidates: graphs of the net.
            plan: what was asked for.
            facts: of the net.
            budget: what may be lost, and the images.
        """
        from hrnet_deploy.exporters.macs import count_macs

        self._candidates, self._plan, self._facts, self._budget = candidates, plan, facts, budget
        graph = candidates.original
        self._cost = count_macs(graph, plan.shapes.opt_nhw[1:])
        self._original = CachedModel(OnnxModel(graph, plain_card(graph, plan, facts)))
        self._references: list[Evaluation] = []
        self._attempts: list[Trial] = []

    def predict(self) -> GateResult:
        """Measure graphs on the CPU until the one with the fewest blocks kept that fits is known.

        Returns:
            The verdict: of an engine a prediction, of an .onnx file what there is to say.

        Raises:
            GateMissedError: none fits, and a rejected artefact shall not be kept.
            HrnetDeployError: whatever evaluating raises.
        """

        def attempt(blocks: Blocks) -> Trial:
            graph = self._candidates.render(blocks)
            target = {"qdq_target": self._plan.int8.target.value} if self._plan.precision is Precision.INT8 else {}
            return self._attempt(blocks, graph, OnnxModel(graph, card_of(graph, self._plan, self._facts, target)))

        self._search(attempt, ())
        return self._verdict()

    def measure(self, predicted: GateResult, build: Callable[[Blocks], Path]) -> GateResult:
        """Measure engines on their GPU, from the blocks that were predicted to suffice to the fewest that do.

        Args:
            predicted: from `predict`.
            build: blocks kept in floating point to the engine with those.

        Returns:
            The verdict on what was measured, with what was predicted.

        Raises:
            GateMissedError: none fits, and a rejected artefact shall not be kept.
            HrnetDeployError: whatever building and evaluating raise.
        """

        def attempt(blocks: Blocks) -> Trial:
            return self._attempt(blocks, self._candidates.render(blocks), build(blocks))

        self._search(attempt, predicted.chosen.kept)
        return self._verdict()

    def _search(self, attempt: Callable[[Blocks], Trial], begin: Blocks) -> None:
        """Try what to begin with, then with more blocks the fewest that fit."""

        def fits(blocks: Blocks) -> bool:
            self._attempts.append(attempt(blocks))
            return within(self._attempts[-1].drop, self._budget.max_drop)

        if not fits(begin):
            more = self._candidates.order()[len(begin) :]
            smallest_passing(lambda count: fits((*begin, *more[:count])), len(more))

    def _attempt(self, blocks: Blocks, graph: onnx.ModelProto, candidate: Model | Path) -> Trial:
        plan = self._plan
        device = "auto" if plan.engine is None else f"cuda:{plan.engine.device}"
        batch = plan.shapes.min_nhw[0]
        comparison = compare(self._original, [candidate], self._budget.dataset, batch=batch, device=device)
        self._references.append(comparison.reference)
        (contrast,) = comparison.candidates
        stands = standing(contrast.evaluation.model)
        if plan.engine is not None and not isinstance(candidate, Path):
            stands = dataclasses.replace(stands, target=TENSORRT)
        return Trial(
            kept=blocks,
            float_share=self._float_share(graph),
            value=contrast.evaluation.metrics.value,
            drop=contrast.drop,
            agreement=contrast.agreement,
            standing=stands,
        )

    def _float_share(self, graph: onnx.ModelProto) -> float:
        from hrnet_deploy.exporters.conv_precision import conv_precisions

        asked = conv_precisions(graph).items()
        precise = {name for name, precision in asked if precision is self._plan.precision}
        return 1 - sum(self._cost[name] for name in precise & self._cost.keys()) / max(1, sum(self._cost.values()))

    def _verdict(self) -> GateResult:
        reference = self._references[0]
        verdict = GateResult(
            precision=self._plan.precision,
            metric=reference.metrics.name,
            reference=reference.metrics.value,
            max_drop=self._budget.max_drop,
            data=reference.data,
            attempts=tuple(self._attempts),
        )
        if not verdict.fits and not self._budget.keep_rejected:
            raise AccuracyGateError(verdict)
        return verdict


def smallest_passing(fits: Callable[[int], bool], most: int) -> int | None:
    """Find the smallest count that fits, in few tries: doubling from 1, then halving what is between.

    Where a larger count may fit less well, it is one that fits while the count below it was tried and does not.

    Args:
        fits: whether a count from 1 to `most` does; it is known that 0 does not.
        most: the largest count.

    Returns:
        The count; None where none of those tried fits.
    """
    low, high = 0, 1
    while high <= most and not fits(high):
        low, high = high, max(high + 1, min(2 * high, most))
    if high > most:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
