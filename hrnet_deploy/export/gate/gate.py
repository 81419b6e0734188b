"""The accuracy gate: blocks move to floating point until the accuracy target is met."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import onnx

from hrnet_deploy.evaluation import Evaluation, Model, compare
from hrnet_deploy.evaluation.runtime_status import TENSORRT, runtime_status
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
    """Measures candidates, those with the fewest blocks in float first; `result` is that of the graphs on the CPU."""

    def __init__(self, converter: Converter, target: AccuracyTarget) -> None:
        """Measure graphs of the converter against the float32 graph."""
        self._converter, self._plan, self._target = converter, converter.plan, target
        self._macs = count_macs(converter.model, converter.plan.shapes.opt_nhw[1:])
        card = converter.plan.float_card(converter.model)
        self._original = CachedModel(OnnxModel(converter.model, card))
        self._references: list[Evaluation] = []
        self._trials: list[Trial] = []

        def candidate(_blocks: Blocks, graph: onnx.ModelProto) -> Model:
            # An INT8 graph for TensorRT only predicts: the status needs the target, not the figures.
            int8 = self._plan.precision is Precision.INT8
            info = QuantizationInfo(target=self._plan.int8.target) if int8 else None
            return OnnxModel(graph, self._plan.card(graph, info))

        self.result = self._search(candidate, ())

    def measure_engine(self, build: Callable[[Blocks], Path]) -> GateResult:
        """Measure engines on their GPU, from the predicted blocks on; the prediction is among the attempts."""
        return self._search(lambda blocks, _graph: build(blocks), self.result.chosen.kept)

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


def search(converter: Converter, target: AccuracyTarget | None) -> AccuracyGate | None:
    """Find the blocks to keep in float, as few as the accuracy target allows; None without a target."""
    return None if target is None else AccuracyGate(converter, target)


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
