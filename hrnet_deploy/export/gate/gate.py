"""The accuracy gate: blocks move to floating point until the accuracy target is met."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hrnet_deploy.evaluation import Evaluation, Model, compare
from hrnet_deploy.evaluation.runtime_status import TENSORRT, runtime_status
from hrnet_deploy.export.card import build_card, float_card
from hrnet_deploy.export.gate.accuracy_target import AccuracyTarget
from hrnet_deploy.export.gate.in_memory_model import CachedModel, OnnxModel
from hrnet_deploy.export.gate.result import AccuracyGateError, GateResult, Trial, within
from hrnet_deploy.export.quantize.converter import Converter
from hrnet_deploy.quantization_info import QuantizationInfo
from hrnet_deploy.spec import Precision

if TYPE_CHECKING:
    import onnx

Blocks = tuple[str, ...]
"""Names of blocks kept in float to meet the target, most sensitive first."""


class AccuracyGate:
    """Measures candidates on labeled images, those with the fewest blocks in float first, and records every trial."""

    def __init__(self, converter: Converter, target: AccuracyTarget) -> None:
        """Open the float32 graph, the reference of every candidate."""
        from hrnet_deploy.exporters.macs import count_macs

        source = converter.source
        self._converter, self._plan, self._target = converter, source.plan, target
        self._macs = count_macs(source.model, source.plan.shapes.opt_nhw[1:])
        card = float_card(source.model, source.plan)
        self._original = CachedModel(OnnxModel(source.model, card))
        self._references: list[Evaluation] = []
        self._trials: list[Trial] = []

    def measure_on_cpu(self) -> GateResult:
        """Measure graphs on the CPU until the passing one with the fewest blocks in float is known.

        Returns:
            The result; for an engine it is a prediction.

        Raises:
            AccuracyGateError: No graph passes, and the plan does not keep rejected artifacts.
            HrnetDeployError: Whatever evaluating raises.
        """

        def measure(blocks: Blocks) -> Trial:
            graph, plan = self._converter.graph(blocks), self._plan
            # An INT8 graph for TensorRT only predicts: the status needs the target, not the figures.
            info = QuantizationInfo(target=plan.int8.target) if plan.precision is Precision.INT8 else None
            return self._trial(blocks, graph, OnnxModel(graph, build_card(graph, plan, info)))

        self._search(measure, ())
        return self._result()

    def measure_engine(self, predicted: GateResult, build: Callable[[Blocks], Path]) -> GateResult:
        """Measure engines on their GPU, from the predicted blocks on to the fewest that pass.

        Args:
            predicted: Result of `measure_on_cpu`.
            build: Builds the engine with these blocks in float.

        Returns:
            The result of the engines, with the prediction among its attempts.

        Raises:
            AccuracyGateError: No engine passes, and the plan does not keep rejected artifacts.
            HrnetDeployError: Whatever building and evaluating raise.
        """

        def measure(blocks: Blocks) -> Trial:
            return self._trial(blocks, self._converter.graph(blocks), build(blocks))

        self._search(measure, predicted.chosen.kept)
        return self._result()

    def _search(self, measure: Callable[[Blocks], Trial], first: Blocks) -> None:
        """Try the first blocks, then the fewest more that pass."""

        def passes(blocks: Blocks) -> bool:
            self._trials.append(measure(blocks))
            return within(self._trials[-1].drop, self._target.max_drop)

        if not passes(first):
            more = self._converter.sensitivity_order()[len(first) :]
            smallest_passing(lambda count: passes((*first, *more[:count])), len(more))

    def _trial(self, blocks: Blocks, graph: onnx.ModelProto, candidate: Model | Path) -> Trial:
        plan = self._plan
        device = "auto" if plan.engine is None else f"cuda:{plan.engine.device}"
        batch = plan.shapes.min_nhw[0]
        comparison = compare(self._original, [candidate], self._target.dataset, batch=batch, device=device)
        self._references.append(comparison.reference)
        (contrast,) = comparison.candidates
        status = runtime_status(contrast.evaluation.model)
        if plan.engine is not None and not isinstance(candidate, Path):
            status = dataclasses.replace(status, target=TENSORRT)
        return Trial(
            kept=blocks,
            float_share=self._float_share(graph),
            value=contrast.evaluation.metrics.value,
            drop=contrast.drop,
            agreement=contrast.agreement,
            runtime_status=status,
        )

    def _float_share(self, graph: onnx.ModelProto) -> float:
        from hrnet_deploy.exporters.conv_precision import conv_precisions

        low = {name for name, precision in conv_precisions(graph).items() if precision is self._plan.precision}
        return 1 - sum(self._macs[name] for name in low & self._macs.keys()) / max(1, sum(self._macs.values()))

    def _result(self) -> GateResult:
        reference = self._references[0]
        result = GateResult(
            precision=self._plan.precision,
            metric=reference.metrics.name,
            reference=reference.metrics.value,
            max_drop=self._target.max_drop,
            data=reference.data,
            attempts=tuple(self._trials),
        )
        if not result.passed and not self._target.keep_rejected:
            raise AccuracyGateError(result)
        return result


@dataclass(frozen=True)
class Choice:
    """Blocks to keep in float.

    Attributes:
        keep: the blocks; empty without an accuracy target.
        gate: the gate, which can measure engines, too; None without a target.
        result: what it measured.
    """

    keep: Blocks = ()
    gate: AccuracyGate | None = None
    result: GateResult | None = None


def search(converter: Converter, target: AccuracyTarget | None) -> Choice:
    """Choose the blocks to keep in float: as few as the accuracy target allows.

    Args:
        converter: Converts the graph.
        target: The accuracy target; None keeps no block beyond those that the user named.

    Returns:
        The choice.

    Raises:
        AccuracyGateError: No graph passes, and the plan does not keep rejected artifacts.
        HrnetDeployError: Whatever evaluating raises.
    """
    if target is None:
        return Choice()
    gate = AccuracyGate(converter, target)
    result = gate.measure_on_cpu()
    return Choice(result.chosen.kept, gate, result)


def smallest_passing(passes: Callable[[int], bool], largest: int) -> int | None:
    """Find the smallest passing count from 1 to `largest` (doubling, then bisection); None if none passes."""
    low, high = 0, 1
    while high <= largest and not passes(high):
        low, high = high, max(high + 1, min(2 * high, largest))
    if high > largest:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high
