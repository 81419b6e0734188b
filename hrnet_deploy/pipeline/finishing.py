"""From a traced graph to those that may be written: simplified, in a precision, with the ends that were asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.pipeline.calibrating import input_batches, named_folder, pick_images
from hrnet_deploy.pipeline.facts import Facts
from hrnet_deploy.pipeline.halving import Halver
from hrnet_deploy.pipeline.planning import Plan
from hrnet_deploy.pipeline.quantizing import Quantized, Quantizer
from hrnet_deploy.pipeline.verifying import Probe, answered_by, check_graph
from hrnet_deploy.spec import OutputKind, Precision, Task

if TYPE_CHECKING:
    import onnx

    from hrnet_deploy.calibration.implicit_int8 import ImplicitInt8

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
        implicit: of an INT8 graph, the same quantisation for a TensorRT that reads a calibration cache.
    """

    graph: onnx.ModelProto
    probes: list[Probe]
    kept_fp32: tuple[str, ...] = ()
    underflowed: int = 0
    quantized: Quantized | None = None
    untyped: onnx.ModelProto | None = None
    implicit: ImplicitInt8 | None = None


class Finisher:
    """Finishes one net as often as it takes, with any blocks kept in floating point.

    Attributes:
        original: the simplified float32 graph, without the ends that were asked for.
    """

    def __init__(self, graph: onnx.ModelProto, plan: Plan, facts: Facts, probes: list[Probe]) -> None:
        """Simplify, and measure what the precision needs to be known.

        Args:
            graph: float32, as traced.
            plan: what was asked for.
            facts: of the net.
            probes: pictures and the original's answers.

        Raises:
            HrnetDeployError: whatever simplifying and calibrating raise.
        """
        from hrnet_deploy.exporters.simplify import simplify

        self.original = simplify(graph) if plan.simplify else graph
        self._plan, self._facts, self._probes = plan, facts, probes
        self._maker = _maker(self.original, plan, facts, probes)

    def order(self) -> tuple[str, ...]:
        """Blocks that may be kept beyond those the user keeps, most sensitive first; measured once.

        Returns:
            Their names.
        """
        return self._maker.order()

    def render(self, blocks: tuple[str, ...]) -> onnx.ModelProto:
        """The graph alone.

        Args:
            blocks: to keep beyond those the user keeps.

        Returns:
            A new graph in its precision, with its ends.
        """
        return self._with_ends(self._maker.render((*self._maker.kept(), *blocks)))

    def finish(self, blocks: tuple[str, ...]) -> Finished:
        """The graph and the report of its making.

        Args:
            blocks: to keep beyond those the user keeps.

        Returns:
            What may be written.

        Raises:
            VerificationError: an INT8 graph that no longer answers like the net.
        """
        kept = (*self._maker.kept(), *blocks)
        if isinstance(self._maker, Quantizer):
            quantized = self._maker.make(kept)
            # Real images have judged INT8 against the original; what is left to verify is the file against this graph.
            probes = answered_by(quantized.model, self._probes)
            return Finished(
                self._with_ends(quantized.model),
                probes,
                quantized=quantized,
                untyped=self._with_ends(self._maker.untyped(kept)) if self._flags_set_precision else None,
                implicit=None if quantized.implicit is None else self._renamed(quantized.implicit),
            )
        if isinstance(self._maker, Halver):
            half = self._maker.make(kept)
            graph = self._with_ends(half.model)
            untyped = self._with_ends(_copy(self.original)) if self._flags_set_precision else None
            return Finished(graph, self._probes, half.kept, half.underflowed, untyped=untyped)
        return Finished(self.render(blocks), self._probes)

    @property
    def _flags_set_precision(self) -> bool:
        return self._plan.engine is not None and self._plan.engine.flags_set_precision

    def _renamed(self, implicit: ImplicitInt8) -> ImplicitInt8:
        """The values as they are called with the ends that were asked for."""
        from hrnet_deploy.exporters.pixels import NORMALISED

        (entry,) = self.original.graph.input
        return implicit if self._plan.pixels is None else implicit.renamed(entry.name, NORMALISED)

    def _with_ends(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """The same graph, changed in place."""
        from hrnet_deploy.exporters import answers, pixels

        plan, facts = self._plan, self._facts
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


class _Plain:
    """Float32, of which there is one graph."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        self._graph = graph

    def kept(self) -> tuple[str, ...]:
        return ()

    def order(self) -> tuple[str, ...]:
        return ()

    def render(self, _kept: tuple[str, ...]) -> onnx.ModelProto:
        return _copy(self._graph)


def _maker(graph: onnx.ModelProto, plan: Plan, facts: Facts, probes: list[Probe]) -> Quantizer | Halver | _Plain:
    if plan.precision is Precision.INT8:
        check_graph(graph, probes)
        return Quantizer(graph, plan, facts)
    if plan.precision is Precision.FP16:
        return Halver(graph, _range_batches(plan, probes), _judging_batches(plan))
    return _Plain(graph)


def _copy(graph: onnx.ModelProto) -> onnx.ModelProto:
    copy = type(graph)()
    copy.CopyFrom(graph)
    return copy


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
