"""The accuracy gate: measure what an artefact loses, and move blocks to floating point until it loses little enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from hrnet_deploy.evaluation import Evaluation, compare
from hrnet_deploy.pipeline.budget import Budget
from hrnet_deploy.pipeline.describing import card_of, plain_card
from hrnet_deploy.pipeline.facts import Facts
from hrnet_deploy.pipeline.graph_model import GraphModel, Remembering
from hrnet_deploy.pipeline.planning import Plan
from hrnet_deploy.pipeline.verdict import Attempt, Verdict, within

if TYPE_CHECKING:
    import onnx


class Maker(Protocol):
    """Makes graphs of one net in one precision, with any blocks kept in floating point."""

    def kept(self) -> tuple[str, ...]:
        """What the user wants to be kept."""
        ...

    def order(self) -> tuple[str, ...]:
        """Blocks that may be kept beyond that, most sensitive first; measured once."""
        ...

    def render(self, kept: tuple[str, ...]) -> onnx.ModelProto:
        """A new graph with those kept."""
        ...


def judge(
    reference: onnx.ModelProto,
    maker: Maker,
    with_ends: Callable[[onnx.ModelProto], onnx.ModelProto],
    plan: Plan,
    facts: Facts,
    budget: Budget,
) -> Verdict:
    """Measure candidates on labelled images until the one with the fewest blocks kept that fits is known.

    Args:
        reference: the float32 graph, without the ends the artefact will have.
        maker: of candidates.
        with_ends: gives a candidate the ends of the artefact.
        plan: what was asked for.
        facts: of the net.
        budget: what may be lost, and the images.

    Returns:
        The verdict, with every attempt.

    Raises:
        HrnetDeployError: whatever evaluating raises.
    """
    from hrnet_deploy.exporters.convolutions import asked_of_convolutions
    from hrnet_deploy.exporters.multiply_adds import multiply_adds

    cost = multiply_adds(reference, plan.shapes.opt_nhw[1:])
    original = Remembering(GraphModel(reference, plain_card(reference, plan, facts)))
    asked = maker.kept()
    batch = plan.shapes.opt_nhw[0] if not plan.shapes.dynamic_batch else 1
    references: list[Evaluation] = []
    attempts: list[Attempt] = []

    def fits_with(blocks: tuple[str, ...]) -> bool:
        graph = maker.render((*asked, *blocks))
        precise = {name for name, precision in asked_of_convolutions(graph).items() if precision is plan.precision}
        graph = with_ends(graph)
        candidate = GraphModel(graph, card_of(graph, plan, facts, {}))
        comparison = compare(original, [candidate], budget.dataset, batch=batch)
        (contrast,) = comparison.candidates
        references.append(comparison.reference)
        attempts.append(
            Attempt(
                kept=blocks,
                float_share=1 - sum(cost[name] for name in precise & cost.keys()) / max(1, sum(cost.values())),
                value=contrast.evaluation.metrics.value,
                drop=contrast.drop,
                agreement=contrast.agreement,
            )
        )
        return within(contrast.drop, budget.max_drop)

    if not fits_with(()):
        order = maker.order()
        fewest(lambda count: fits_with(order[:count]), len(order))
    fitting = [attempt for attempt in attempts if within(attempt.drop, budget.max_drop)]
    return Verdict(
        precision=plan.precision,
        metric=references[0].metrics.name,
        reference=references[0].metrics.value,
        max_drop=budget.max_drop,
        data=references[0].data,
        attempts=tuple(attempts),
        chosen=min(fitting, key=lambda attempt: len(attempt.kept))
        if fitting
        else min(attempts, key=lambda attempt: attempt.drop.points),
    )


def fewest(fits: Callable[[int], bool], most: int) -> int | None:
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
