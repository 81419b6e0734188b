"""From a traced graph to those that may be written: simplified, in a precision, with the ends that were asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.export.agreement import Agreement, floor_for
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.quantize.calibrate import input_batches
from hrnet_deploy.export.quantize.fp16 import Fp16Converter
from hrnet_deploy.export.quantize.int8 import Int8Converter, Int8Graph
from hrnet_deploy.export.source import RANDOM, ModelInfo
from hrnet_deploy.export.verify import ReferenceBatch, answered_by, check_graph
from hrnet_deploy.processing.two_classes import cut_of
from hrnet_deploy.spec import OutputKind, Precision, Task

if TYPE_CHECKING:
    import onnx

    from hrnet_deploy.calibration.image_selection import CalibrationImage
    from hrnet_deploy.calibration.implicit_int8 import ImplicitInt8

_TOPK = 5
_RANGE_IMAGES = 32
_JUDGES = 64


@dataclass(frozen=True)
class ConvertedGraph:
    """A graph that is ready to be written, and what its making met.

    Attributes:
        graph: simplified, in its precision, with its ends.
        probes: what the written file is compared with.
        kept_fp32: nodes of an FP16 graph left in float32.
        underflowed: weights that became zero in half precision.
        quantized: of an INT8 graph, what was measured.
        untyped: the float32 graph with the same ends, for a TensorRT that is told the precision by flags.
        agreement: answers it keeps on validation images; None of float32, of random weights and without images.
        implicit: of an INT8 graph, the same quantisation for a TensorRT that reads a calibration cache.
    """

    graph: onnx.ModelProto
    probes: list[ReferenceBatch]
    kept_fp32: tuple[str, ...] = ()
    underflowed: int = 0
    quantized: Int8Graph | None = None
    untyped: onnx.ModelProto | None = None
    agreement: Agreement | None = None
    implicit: ImplicitInt8 | None = None


class Converter:
    """Finishes one net as often as it takes, with any blocks kept in floating point.

    Attributes:
        original: the simplified float32 graph, without the ends that were asked for.
    """

    def __init__(
        self, graph: onnx.ModelProto, plan: ExportPlan, facts: ModelInfo, probes: list[ReferenceBatch]
    ) -> None:
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

        self.original = simplify(graph) if plan.options.simplify else graph
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

    def finish(self, blocks: tuple[str, ...]) -> ConvertedGraph:
        """The graph and the report of its making.

        Args:
            blocks: to keep beyond those the user keeps.

        Returns:
            What may be written.

        Raises:
            VerificationError: an INT8 graph that no longer answers like the net.
        """
        kept = (*self._maker.kept(), *blocks)
        if isinstance(self._maker, Int8Converter):
            quantized = self._maker.make(kept)
            # Real images have judged INT8 against the original; what is left to verify is the file against this graph.
            probes = answered_by(quantized.model, self._probes)
            agreement = self._agreement(quantized.score.agreement, quantized.held_out)
            return ConvertedGraph(
                self._with_ends(quantized.model),
                probes,
                quantized=quantized,
                untyped=self._with_ends(self._maker.untyped(kept)) if self._flags_set_precision else None,
                agreement=agreement,
                implicit=None if quantized.implicit is None else self._renamed(quantized.implicit),
            )
        if isinstance(self._maker, Fp16Converter):
            half = self._maker.make(kept)
            images = validation_images(self._plan)
            agreement = None
            if images:
                batches = input_batches(images, self._plan.preprocessing)
                agreement = self._agreement(*self._maker.likeness(half.model, batches))
            return ConvertedGraph(
                self._with_ends(half.model),
                self._probes,
                half.kept,
                half.underflowed,
                untyped=self._with_ends(_copy(self.original)) if self._flags_set_precision else None,
                agreement=agreement,
            )
        return ConvertedGraph(self.render(blocks), self._probes)

    def _agreement(self, share: float, images: int) -> Agreement | None:
        """Random weights answer at random: any noise changes them, and nothing follows from that."""
        facts = self._facts
        if facts.lineage.get("weights") == RANDOM:
            return None
        floor = floor_for(facts.task, images)
        return Agreement(precision=self._plan.precision, share=share, images=images, floor=floor)

    @property
    def _flags_set_precision(self) -> bool:
        return self._plan.engine is not None and self._plan.engine.flags_set_precision

    def _renamed(self, implicit: ImplicitInt8) -> ImplicitInt8:
        """The values as they are called with the ends that were asked for."""
        from hrnet_deploy.exporters.uint8_input import NORMALISED

        (entry,) = self.original.graph.input
        return implicit if self._plan.pixels is None else implicit.renamed(entry.name, NORMALISED)

    def _with_ends(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """The same graph, changed in place."""
        from hrnet_deploy.exporters import output_head, uint8_input

        plan, facts = self._plan, self._facts
        if plan.output_kind is not facts.output_kind:
            cut = cut_of(plan.threshold, facts.output_kind)
            if facts.task is Task.SEGMENTATION:
                output_head.add_argmax(graph, align_corners=plan.info.align_corners, cut=cut)
            elif cut is not None:
                output_head.add_two_classes(graph, cut if plan.output_kind is OutputKind.TOPK else None)
            elif plan.output_kind is OutputKind.TOPK:
                output_head.add_topk(graph, min(_TOPK, facts.num_classes))
            else:
                output_head.add_softmax(graph)
        if plan.pixels is not None:
            own = plan.preprocessing
            uint8_input.add_uint8_input(graph, own.mean, own.std, swap=plan.pixels is not own.channel_order)
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


def _maker(
    graph: onnx.ModelProto, plan: ExportPlan, facts: ModelInfo, probes: list[ReferenceBatch]
) -> Int8Converter | Fp16Converter | _Plain:
    if plan.precision is Precision.INT8:
        check_graph(graph, probes)
        return Int8Converter(graph, plan, facts)
    if plan.precision is Precision.FP16:
        cut = cut_of(plan.threshold, facts.output_kind)
        return Fp16Converter(graph, _range_batches(plan, probes), _judging_batches(plan), cut)
    return _Plain(graph)


def _copy(graph: onnx.ModelProto) -> onnx.ModelProto:
    copy = type(graph)()
    copy.CopyFrom(graph)
    return copy


def _range_batches(plan: ExportPlan, probes: list[ReferenceBatch]) -> Iterator[NDArray[np.float32]]:
    """The probes, and real images where the user names some."""
    yield from (probe.batch for probe in probes)
    if plan.images is not None:
        yield from input_batches(plan.images.calibration[:_RANGE_IMAGES], plan.preprocessing)


def _judging_batches(plan: ExportPlan) -> Iterable[NDArray[np.float32]]:
    """Some of the images the budget is measured on, as often as they are asked for; none without one."""
    return () if plan.accuracy is None else input_batches(plan.accuracy.images(_RANGE_IMAGES), plan.preprocessing)


def validation_images(plan: ExportPlan) -> tuple[CalibrationImage, ...]:
    """The user's images that judge an FP16 graph.

    Args:
        plan: what was asked for.

    Returns:
        Those of the budget, else the user's others, else those set aside; none where the user names no images.
    """
    from hrnet_deploy.calibration.image_selection import choose

    if plan.accuracy is not None:
        return plan.accuracy.images(_JUDGES)
    if plan.evaluation is not None:
        return choose(plan.evaluation, _JUDGES)
    return () if plan.images is None else plan.images.held_out
