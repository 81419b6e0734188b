"""The accuracy gate: blocks move to floating point until the accuracy target is met."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from hrnet_deploy.evaluation import Evaluation, Model, compare
from hrnet_deploy.evaluation.runtime_status import TENSORRT, runtime_status
from hrnet_deploy.export.card import build_card, float_card
from hrnet_deploy.export.gate.accuracy_target import AccuracyTarget
from hrnet_deploy.export.gate.in_memory_model import CachedModel, OnnxModel
from hrnet_deploy.export.gate.result import AccuracyGateError, GateResult, Trial, within
from hrnet_deploy.export.quantize.converter import Converter
from hrnet_deploy.exporters.convolutions import conv_precisions, count_macs
from hrnet_deploy.quantization_info import QuantizationInfo
from hrnet_deploy.spec import Precision

Blocks = tuple[str, ...]
"""Names of blocks kept in float to meet the target, most sensitive first."""


class AccuracyGate:
    """Measures candidates on labeled images, those with the fewest blocks in float first, and records every trial."""

    def __init__(self, converter: Converter, target: AccuracyTarget) -> None:
        """Open the float32 graph, the reference of every candidate."""
        self._converter, self._plan, self._target = converter, converter.plan, target
        self._macs = count_macs(converter.model, converter.plan.shapes.opt_nhw[1:])
        card = float_card(converter.model, converter.plan)
        self._original = CachedModel(OnnxModel(converter.model, card))
        self._references: list[Evaluation] = []
        self._trials: list[Trial] = []

    def measure_on_cpu(self) -> GateResult:
        """Measure graphs on the CPU until the passing one with the fewest blocks in float is known.

        For an engine the result is a prediction.
        """

        def candidate(_blocks: Blocks, graph: onnx.ModelProto) -> Model:
            # An INT8 graph for TensorRT only predicts: the status needs the target, not the figures.
            int8 = self._plan.precision is Precision.INT8
            info = QuantizationInfo(target=self._plan.int8.target) if int8 else None
            return OnnxModel(graph, build_card(graph, self._plan, info))

        return self._search(candidate, ())

    def measure_engine(self, predicted: GateResult, build: Callable[[Blocks], Path]) -> GateResult:
        """Measure engines on their GPU, from the predicted blocks on to the fewest that pass.

        The prediction is among the attempts of the result.
        """
        return self._search(lambda blocks, _graph: build(blocks), predicted.chosen.kept)

    def _search(self, candidate: Callable[[Blocks, onnx.ModelProto], Model | Path], first: Blocks) -> GateResult:
        """Try the first blocks, then the fewest more that pass."""

        def passes(blocks: Blocks) -> bool:
            graph = self._converter.graph(blocks)
            self._trials.append(self._trial(blocks, graph, candidate(blocks, graph)))
            return within(self._trials[-1].drop, self._target.max_drop)

        if not passes(first):
            more = self._converter.sensitivity_order()[len(first) :]
            smallest_passing(lambda count: passes((*first, *more[:count])), len(more))
        reference = self._references[0]
        result = GateResult(
            precision=self._plan.precision,
            metric=reference.metrics.name,
            reference=reference.metrics.value,
            max_drop=self._target.max_drop,
            data=reference.data,
            attempts=tuple(self._trials),
        )
        if not result.passed and not self._plan.options.keep_rejected:
            raise AccuracyGateError(result)
        return result

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
        low = {name for name, precision in conv_precisions(graph).items() if precision is plan.precision}
        in_precision = sum(self._macs[name] for name in low & self._macs.keys())
        return Trial(
            kept=blocks,
            float_share=1 - in_precision / max(1, sum(self._macs.values())),
            value=contrast.evaluation.metrics.value,
            drop=contrast.drop,
            agreement=contrast.agreement,
            runtime_status=status,
        )


@dataclass(frozen=True)
class Choice:
    """Blocks to keep in float, the gate that measured them, and its result; empty without an accuracy target."""

    keep: Blocks = ()
    gate: AccuracyGate | None = None
    result: GateResult | None = None


def search(converter: Converter, target: AccuracyTarget | None) -> Choice:
    """Choose the blocks to keep in float: as few as the accuracy target allows."""
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
