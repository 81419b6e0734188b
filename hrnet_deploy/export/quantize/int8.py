"""Conversion to INT8: one calibration; validation images choose the method and the blocks kept in float."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from hrnet_deploy.calibration.blocks import blocks, resolve
from hrnet_deploy.calibration.implicit_int8 import ImplicitInt8, implicit_int8
from hrnet_deploy.calibration.qdq_placement import float_by_default, place_qdq, residual_inputs, threshold_floors
from hrnet_deploy.calibration.table import CalibrationTable
from hrnet_deploy.calibration.thresholds import METHODS
from hrnet_deploy.errors import UsageError, VerificationError
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.quantize.calibrate import calibrate, choose_validation
from hrnet_deploy.export.quantize.converter import ConvertedGraph, Converter
from hrnet_deploy.export.quantize.fp16 import RANGE_IMAGES, fp16_unsafe_nodes
from hrnet_deploy.export.quantize.plan import Int8Plan
from hrnet_deploy.export.quantize.similarity import Scored, rank_by_sensitivity
from hrnet_deploy.export.quantize.weight_rounding import ENOUGH_IMAGES, round_weights
from hrnet_deploy.export.verify import ReferenceBatch, check_graph, with_outputs_of
from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.exporters.integer_input import add_integer_input
from hrnet_deploy.exporters.qdq import to_qdq
from hrnet_deploy.exporters.tensorrt_graph import with_rounded_weights
from hrnet_deploy.exporters.uint8_input import NORMALIZED
from hrnet_deploy.qdq_plan import ActivationRange, QdqPlan, QdqTarget, name_of
from hrnet_deploy.quantization_info import QuantizationInfo, Similarity
from hrnet_deploy.spec import Precision, Task
from hrnet_deploy.system.progress import bar

AUTO = "auto"
NONE = "none"
"""Value of --keep-fp that keeps in float only what is named beside it, not even what the layout keeps by itself."""
_ENOUGH = {Task.CLASSIFICATION: 0.995, Task.SEGMENTATION: 0.9985}
"""Expected agreement at which `--keep-fp auto` stops taking blocks out of INT8.

The person model's 100 other photos were 0.15 points worse than its 20 validation images.
"""
_BROKEN = 0.5
_NOISE_DB = 3.0
"""With lower agreement and as much noise, a graph is not a worse model but a wrong one, also with random weights.

Those have no floor of agreement (see `agreement`): their classes are nearly equally likely, and any noise changes most
predictions.
"""


class Int8Converter(Converter):
    """Conversion to a Q/DQ graph with any blocks kept in float."""

    def __init__(self, model: onnx.ModelProto, plan: ExportPlan, batches: Sequence[ReferenceBatch] = ()) -> None:
        """Calibrate, and choose the method if it is "auto"."""
        super().__init__(model, plan, batches)
        check_graph(self.featured_copy(model), batches)
        options = plan.int8
        self._named = tuple(name for name in options.keep_fp if name != AUTO)
        variant = model
        known: Mapping[str, ActivationRange] = {}
        # A classifier has small maps: its first convolution in float costs little, and each of its labels counts.
        colors = plan.preprocessing.channel_order.channels == 3
        if options.target is QdqTarget.CPU and plan.info.task is Task.SEGMENTATION and colors:
            variant, known = add_integer_input(model, plan.preprocessing.mean, plan.preprocessing.std)
        graphs = QdqGraphs(plan=options, graph=model, variant=variant, known=known)
        if not graphs.place(self._named).weighted:
            beside = ", ".join(("what the recipe keeps", *self._named))
            raise UsageError(f"int8 needs a convolution to quantize, got none beside {beside}. Keep less, or use fp16.")
        if plan.images is None:
            raise UsageError("precision int8 needs a plan with images to calibrate on, got none. Give --calib-data.")
        judging = plan.evaluation if plan.accuracy is None else plan.accuracy.images()
        images = choose_validation(plan.images, judging, allow_overlap=options.allow_overlap)
        cache = Path(options.cache) if options.cache else plan.path.with_suffix(".calib.json")
        first = "entropy" if options.method == AUTO else options.method
        self._table = calibrate(model, images, plan.preprocessing, first, cache)
        # "auto" also takes the label margins of a classifier's calibration images.
        with_margins = AUTO in options.keep_fp and plan.info.task is Task.CLASSIFICATION
        margins = self.inputs(images.calibration if with_margins else ())
        self._scorer = self.scorer(self.inputs(images.validation), margins)
        self._calibration = images.calibration
        if options.remainder == Precision.FP16.value:
            unsafe = fp16_unsafe_nodes(model, self.inputs(images.calibration[:RANGE_IMAGES]))
            graphs = dataclasses.replace(graphs, float_nodes=unsafe)
        self._graphs = self._with_rounded(graphs, graphs.place(self._named).weighted)
        if options.method == AUTO:
            divergence: dict[str, float] = {}
            for method in bar(METHODS, desc="choosing the method"):
                graph = self._graphs.write(dataclasses.replace(self._table, method=method), self._named)
                divergence[method] = self._scorer.score(self.with_features(graph)).divergence
            best = min(divergence, key=lambda method: divergence[method])
            scores = {method: -value for method, value in divergence.items()}
            self._table = dataclasses.replace(self._table, method=best, scores=scores)
            self._table.save(cache)
        self._scores: dict[tuple[str, ...], Scored] = {}
        self._by_block: Mapping[str, Similarity] = {}
        if options.sensitivity:
            self._sensitivity()

    def sensitivity_order(self) -> tuple[str, ...]:
        """Order the blocks with a convolution in INT8, as long as one convolution stays in INT8."""
        kept = self._kept()
        order: tuple[str, ...] = ()
        for block in self._sensitivity():
            before, after = (self._graphs.place((*kept, *order, *more)).weighted for more in ((), (block,)))
            if not after:
                break
            if after != before:
                order = (*order, block)
        return order

    def graph(self, keep: tuple[str, ...]) -> onnx.ModelProto:
        """Convert without validation."""
        return self.with_ends(self._graphs.write(self._table, (*self._kept(), *keep)))

    def convert(self, keep: tuple[str, ...]) -> ConvertedGraph:
        """Convert, and compare the outputs on validation images."""
        options, graphs, table, engine = self.plan.int8, self._graphs, self._table, self.plan.engine
        kept = (*self._kept(), *keep)
        found = self._score(kept)
        score = found.similarity
        if score.agreement < _BROKEN and not score.sqnr_db >= _NOISE_DB and not self.plan.options.keep_rejected:
            raise VerificationError(
                f"int8 artifact must agree with its original, got {score.agreement:.1%} of equal predictions and "
                f"{score.sqnr_db:.1f} dB on {self._scorer.count} validation images. Calibrate on more images like "
                "those the model sees, or use --keep-fp auto."
            )
        model = graphs.write(table, kept)
        # Real images compare INT8 with the original; the reference batches compare the file with this graph.
        batches = with_outputs_of(self.featured_copy(model), self.batches)
        implicit = None
        if options.target is QdqTarget.TENSORRT or options.trt_cache is not None:
            implicit = graphs.implicit(table, kept)
            if self.plan.pixels is not None:  # the input's scale is that of the normalized value
                implicit = implicit.renamed(self.model.graph.input[0].name, NORMALIZED)
        return ConvertedGraph(
            graph=self.with_ends(model),
            batches=batches,
            quantization=QuantizationInfo(
                target=options.target,
                method=table.method,
                images=table.provenance.images,
                images_sha256=table.provenance.image_list_sha256,
                kept_in_float=kept,
                remainder=options.remainder,
                residual=options.residual if options.target is QdqTarget.TENSORRT else None,
                implicit=engine is not None and engine.implicit,
                validation=score,
                validation_images=self._scorer.count,
                method_divergence={method: -value for method, value in table.scores.items()},
            ),
            sensitivity=self._by_block,
            untyped=self.with_ends(graphs.untyped(kept)) if self.flags_set_precision else None,
            agreement=self.agreement(found, self._scorer.count),
            features=found.features,
            implicit=implicit,
        )

    def _kept(self) -> tuple[str, ...]:
        """Name what the user keeps in float; "auto" adds the most sensitive blocks until enough outputs are equal."""
        kept = self._named
        if AUTO not in self.plan.int8.keep_fp:
            return kept
        for block in self._sensitivity():
            enough = self._score(kept).similarity.expected >= _ENOUGH[self.plan.info.task]
            if enough or not self._graphs.place((*kept, block)).weighted:
                break
            if block not in kept:
                kept = (*kept, block)
        return kept

    def _sensitivity(self) -> Mapping[str, Similarity]:
        """Return the similarity of graphs in which one block alone is INT8; measured once."""
        if not self._by_block:
            graphs, table = self._graphs, self._table
            # Blocks that the user keeps are measured as well.
            if unrounded := graphs.place(()).weighted - graphs.place(self._named).weighted:
                graphs = self._graphs = self._with_rounded(graphs, unrounded)
            self._by_block = rank_by_sensitivity(
                graphs.blocks,
                lambda block: self.with_features(graphs.write(table, (), only=block)),
                self._scorer,
            )
        return self._by_block

    def _score(self, kept: tuple[str, ...]) -> Scored:
        if kept not in self._scores:
            self._scores[kept] = self._scorer.compare(self.with_features(self._graphs.write(self._table, kept)))
        return self._scores[kept]

    def _with_rounded(self, graphs: QdqGraphs, nodes: frozenset[str]) -> QdqGraphs:
        """Round the weights of some convolutions as well."""
        few = self.inputs(self._calibration[:ENOUGH_IMAGES])
        levels = round_weights(graphs.variant, nodes, few, per_channel=graphs.plan.per_channel)
        return dataclasses.replace(graphs, rounded={**levels, **graphs.rounded})


@dataclass(frozen=True, kw_only=True)
class QdqGraphs:
    """Writer of the Q/DQ graphs of one float32 graph.

    Attributes:
        variant: `graph`, or a copy of it whose first convolution reads integers; the pairs are placed in it.
        known: ranges of the values that only that variant has.
        rounded: INT8 levels by name of the weights.
        float_nodes: nodes to keep in float32 where the remainder becomes FP16; None for an FP32 remainder.
    """

    plan: Int8Plan
    graph: onnx.ModelProto
    variant: onnx.ModelProto
    known: Mapping[str, ActivationRange]
    rounded: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)
    float_nodes: frozenset[str] | None = None

    @functools.cached_property
    def blocks(self) -> dict[str, frozenset[str]]:
        """Node names by block, in graph order."""
        return blocks(self.variant)

    def place(self, keep: tuple[str, ...], only: str | None = None) -> QdqPlan:
        """Place the pairs; with `only`, in that block alone."""
        nodes = _float_nodes(self.variant, self.plan.target, keep)
        if only is not None:
            nodes |= frozenset().union(*(nodes for block, nodes in self.blocks.items() if block != only))
        return place_qdq(self.variant, self.plan.target, nodes, self.plan.residual)

    def write(self, table: CalibrationTable, keep: tuple[str, ...], only: str | None = None) -> onnx.ModelProto:
        """Write the Q/DQ graph; with `only`, that block alone is INT8."""
        plan = self.place(keep, only)
        ranges = {**self.known, **self._ranges(table, (name for name in plan.measured if name not in self.known))}
        # If the first convolution stays in float, integers at its input are of no use.
        graph = self.graph if self.known.keys().isdisjoint(plan.tensors) else self.variant
        model = to_qdq(graph, plan, ranges, per_channel=self.plan.per_channel, rounded=self.rounded)
        return model if self.float_nodes is None else to_fp16(model, self.float_nodes).model

    def implicit(self, table: CalibrationTable, keep: tuple[str, ...]) -> ImplicitInt8:
        """Scales of the float32 graph for TensorRT's calibrator, clipped as in its Q/DQ graph."""
        nodes = _float_nodes(self.graph, QdqTarget.TENSORRT, keep)
        return implicit_int8(self.graph, self._ranges(table, table.tensors), nodes)

    def untyped(self, keep: tuple[str, ...]) -> onnx.ModelProto:
        """Write the float32 graph with rounded weights, where each channel has its own scale, as in TensorRT."""
        nodes = _float_nodes(self.graph, QdqTarget.TENSORRT, keep)
        floats = {n.input[1] for n in self.graph.graph.node if n.op_type == "Conv" and name_of(n) in nodes}
        rounded = {name: levels for name, levels in self.rounded.items() if name not in floats}
        return with_rounded_weights(self.graph, rounded if self.plan.per_channel else {})

    def _ranges(self, table: CalibrationTable, names: Iterable[str]) -> dict[str, ActivationRange]:
        """Clip each value by the method in use, and stem values no lower than the floors of the stem."""
        floors, summands = threshold_floors(self.graph), residual_inputs(self.graph)
        amax = {method: table.amax(method) for method in (table.method, *floors.values())}
        ranges = {}
        for name in names:
            threshold = max(amax[table.method][name], amax[floors.get(name, table.method)][name])
            ranges[name] = table.tensors[name].clipped(threshold, residual_input=name in summands)
        return ranges


def _float_nodes(graph: onnx.ModelProto, target: QdqTarget, keep: tuple[str, ...]) -> frozenset[str]:
    """Name the nodes in float, including those that the layout keeps by itself."""
    named = resolve((name for name in keep if name != NONE), graph)
    return named if NONE in keep else float_by_default(graph, target) | named
