"""From a traced graph to the one that is written: simplified, in its precision, with the ends that were asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.pipeline.calibrating import input_batches, named_folder, pick_images
from hrnet_deploy.pipeline.facts import Facts
from hrnet_deploy.pipeline.gate import judge
from hrnet_deploy.pipeline.halving import Halver
from hrnet_deploy.pipeline.planning import Plan
from hrnet_deploy.pipeline.quantizing import Quantized, Quantizer
from hrnet_deploy.pipeline.verdict import GateMissedError, Verdict
from hrnet_deploy.pipeline.verifying import Probe, answered_by, check_graph
from hrnet_deploy.spec import OutputKind, Precision, Task

if TYPE_CHECKING:
    import onnx

_TOPK = 5
_RANGE_IMAGES = 32


@dataclass(frozen=True)
class Finished:
    """A graph that is ready to be written, and what its making met.

    Attributes:
        graph: simplified, in its precision, with its ends.
        probes: what the written file is compared with.
        kept_fp32: nodes of an FP16 graph left in float32.
        underflowed: weights that became zero in half precision.
        quantized: of an INT8 graph, what was measured.
        untyped: the float32 graph with the same ends, for a TensorRT that is told the precision by flags.
        verdict: of the accuracy gate, where there is one.
    """

    graph: onnx.ModelProto
    probes: list[Probe]
    kept_fp32: tuple[str, ...] = ()
    underflowed: int = 0
    quantized: Quantized | None = None
    untyped: onnx.ModelProto | None = None
    verdict: Verdict | None = None


def finish(graph: onnx.ModelProto, plan: Plan, facts: Facts, probes: list[Probe]) -> Finished:
    """Simplify, set the precision within the accuracy budget, then add the ends that were asked for.

    Args:
        graph: float32, as traced; may be changed.
        plan: what was asked for.
        facts: of the net.
        probes: pictures and the original's answers.

    Returns:
        The graph and the report.

    Raises:
        GateMissedError: the budget was missed, and nothing shall be written then.
        HrnetDeployError: whatever a step raises.
    """
    from hrnet_deploy.exporters.simplify import simplify

    if plan.simplify:
        graph = simplify(graph)
    maker = _maker(graph, plan, facts, probes)
    kept, verdict = maker.kept(), None
    if plan.budget is not None:
        verdict = judge(graph, maker, lambda model: _with_ends(model, plan, facts), plan, facts, plan.budget)
        if not verdict.fits and not plan.budget.keep_rejected:
            raise GateMissedError(verdict)
        kept = (*kept, *verdict.chosen.kept)
    made = dataclasses.replace(_made(maker, kept, probes), verdict=verdict)
    _with_ends(made.graph, plan, facts)
    if made.graph is not graph and plan.engine is not None and plan.engine.flags_set_precision:
        made = dataclasses.replace(made, untyped=_with_ends(graph, plan, facts))
    return made


class _Plain:
    """Float32, of which there is one graph."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        self.graph = graph

    def kept(self) -> tuple[str, ...]:
        return ()

    def order(self) -> tuple[str, ...]:
        return ()

    def render(self, _kept: tuple[str, ...]) -> onnx.ModelProto:
        copy = type(self.graph)()
        copy.CopyFrom(self.graph)
        return copy


def _maker(graph: onnx.ModelProto, plan: Plan, facts: Facts, probes: list[Probe]) -> Quantizer | Halver | _Plain:
    if plan.precision is Precision.INT8:
        check_graph(graph, probes)
        return Quantizer(graph, plan, facts)
    if plan.precision is Precision.FP16:
        return Halver(graph, _range_batches(plan, probes), _judging_batches(plan))
    return _Plain(graph)


def _made(maker: Quantizer | Halver | _Plain, kept: tuple[str, ...], probes: list[Probe]) -> Finished:
    if isinstance(maker, Quantizer):
        quantized = maker.make(kept)
        # Real images have judged INT8 against the original; what is left to verify is the file against this graph.
        return Finished(quantized.model, answered_by(quantized.model, probes), quantized=quantized)
    if isinstance(maker, Halver):
        converted = maker.make(kept)
        return Finished(converted.model, probes, converted.kept, converted.underflowed)
    return Finished(maker.graph, probes)


def _range_batches(plan: Plan, probes: list[Probe]) -> Iterator[NDArray[np.float32]]:
    """The probes, and real images where the user names some."""
    yield from (probe.batch for probe in probes)
    folder = named_folder(plan.int8.data)
    if folder is not None:
        images = pick_images(folder, min(plan.int8.images, _RANGE_IMAGES), allow_val=plan.int8.allow_val)
        yield from input_batches(images.calibration, plan.preprocessing)


def _judging_batches(plan: Plan) -> Iterator[NDArray[np.float32]]:
    """Some of the images the budget is measured on; none without one."""
    if plan.budget is not None:
        yield from input_batches(plan.budget.images(_RANGE_IMAGES), plan.preprocessing)


def _with_ends(graph: onnx.ModelProto, plan: Plan, facts: Facts) -> onnx.ModelProto:
    """The same graph, changed in place."""
    from hrnet_deploy.exporters import answers, pixels

    if plan.output_kind is not facts.output_kind:
        if facts.task is Task.SEGMENTATION:
            answers.mask_out(graph, align_corners=plan.align_corners)
        elif plan.output_kind is OutputKind.TOPK:
            answers.topk_out(graph, min(_TOPK, facts.num_classes))
        else:
            answers.probabilities_out(graph)
    if plan.pixels is not None:
        own = plan.preprocessing
        pixels.pixels_in(graph, own.mean, own.std, swap=plan.pixels is not own.channel_order)
    return graph
