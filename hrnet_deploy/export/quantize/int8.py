"""Conversion to INT8: one calibration; validation images choose the method and the blocks kept in float."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hrnet_deploy.errors import UsageError, VerificationError
from hrnet_deploy.export.quantize.calibrate import CalibrationSplit, calibrate, choose_validation
from hrnet_deploy.export.quantize.converted_graph import ConvertedGraph
from hrnet_deploy.export.quantize.float_graph import FloatGraph
from hrnet_deploy.export.quantize.fp16 import RANGE_IMAGES, fp16_unsafe_nodes
from hrnet_deploy.export.quantize.qdq_graph import QdqGraphs, QdqLayout
from hrnet_deploy.export.quantize.similarity import SimilarityScorer, rank_by_sensitivity
from hrnet_deploy.export.quantize.weight_rounding import ENOUGH_IMAGES, round_weights
from hrnet_deploy.export.verify import with_outputs_of
from hrnet_deploy.qdq_plan import ActivationRange, QdqTarget
from hrnet_deploy.quantization_info import QuantizationInfo, Similarity
from hrnet_deploy.spec import Precision, Task
from hrnet_deploy.system.progress import bar

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from hrnet_deploy.calibration.implicit_int8 import ImplicitInt8
    from hrnet_deploy.calibration.table import CalibrationTable

AUTO = "auto"
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


class Int8Converter:
    """Conversion to a Q/DQ graph with any blocks kept in float."""

    def __init__(self, source: FloatGraph) -> None:
        """Calibrate, and choose the method if it is "auto".

        Args:
            source: The float32 graph; `source.plan.int8` has the options.

        Raises:
            UsageError: No calibration images, or a method, block or target that does not exist.
            ImageError: An image that cannot be used.
        """
        self.source = source
        plan, options = source.plan, source.plan.int8
        graph, known = _with_integer_input(source)
        layout = QdqLayout(graph, options.target, options.residual)
        self._named = tuple(name for name in options.keep_fp if name != AUTO)
        if not layout.plan(self._named).weighted:
            beside = ", ".join(("what the recipe keeps", *self._named))
            raise UsageError(f"int8 needs a convolution to quantize, got none beside {beside}. Keep less, or use fp16.")
        images = self._images = _split(source)
        cache = Path(options.cache) if options.cache else plan.path.with_suffix(".calib.json")
        first = "entropy" if options.method == AUTO else options.method
        self._table = calibrate(source.model, images, plan.preprocessing, first, cache)
        self._scorer = _open_scorer(source, images)
        rounded = _round(source, layout, images, layout.plan(self._named).weighted)
        self._graphs = _open_graphs(source, layout, known, images, rounded)
        if options.method == AUTO:
            self._table = _best_method(self._table, self._graphs, self._scorer, self._named)
            self._table.save(cache)
        self._scores: dict[tuple[str, ...], Similarity] = {}
        self._by_block: Mapping[str, Similarity] = {}
        if options.sensitivity:
            self._sensitivity()

    def kept(self) -> tuple[str, ...]:
        """Name what the user keeps in float; "auto" adds the most sensitive blocks until enough outputs are equal."""
        options, kept = self.source.plan.int8, self._named
        if AUTO not in options.keep_fp:
            return kept
        for block in self._sensitivity():
            enough = self._score(kept).expected >= _ENOUGH[self.source.info.task]
            if enough or not self._graphs.layout.plan((*kept, block)).weighted:
                break
            if block not in kept:
                kept = (*kept, block)
        return kept

    def sensitivity_order(self) -> tuple[str, ...]:
        """Order the blocks with a convolution in INT8, as long as one convolution stays in INT8."""
        return self._order

    def graph(self, keep: tuple[str, ...]) -> onnx.ModelProto:
        """Convert without validation."""
        return self.source.with_ends(self._graphs.write(self._table, (*self.kept(), *keep)))

    def convert(self, keep: tuple[str, ...]) -> ConvertedGraph:
        """Convert, and compare the outputs on validation images."""
        source, options = self.source, self.source.plan.int8
        kept = (*self.kept(), *keep)
        score = self._score(kept)
        if score.agreement < _BROKEN and not score.sqnr_db >= _NOISE_DB and not source.plan.options.keep_rejected:
            raise VerificationError(
                f"int8 artifact must agree with its original, got {score.agreement:.1%} of equal predictions and "
                f"{score.sqnr_db:.1f} dB on {self._scorer.count} validation images. Calibrate on more images like "
                "those the model sees, or use --keep-fp auto."
            )
        model = self._graphs.write(self._table, kept)
        # Real images compare INT8 with the original; the reference batches compare the file with this graph.
        batches = with_outputs_of(model, source.batches)
        reads_scales = options.target is QdqTarget.TENSORRT or options.trt_cache is not None
        return ConvertedGraph(
            graph=source.with_ends(model),
            batches=batches,
            quantization=self._info(kept, score),
            sensitivity=self._by_block,
            untyped=source.with_ends(self._graphs.untyped(kept)) if source.flags_set_precision else None,
            agreement=source.agreement(score.agreement, self._scorer.count),
            implicit=self._renamed(self._graphs.implicit(self._table, kept)) if reads_scales else None,
        )

    def _info(self, kept: tuple[str, ...], score: Similarity) -> QuantizationInfo:
        plan, table = self.source.plan, self._table
        return QuantizationInfo(
            target=plan.int8.target,
            method=table.method,
            images=table.provenance.images,
            images_sha256=table.provenance.image_list_sha256,
            kept_in_float=kept,
            remainder=plan.int8.remainder,
            residual=plan.int8.residual if plan.int8.target is QdqTarget.TENSORRT else None,
            implicit=plan.engine is not None and plan.engine.implicit,
            validation=score,
            validation_images=self._scorer.count,
            method_divergence={method: -value for method, value in table.scores.items()},
        )

    def _sensitivity(self) -> Mapping[str, Similarity]:
        if not self._by_block:
            graphs, table, layout = self._graphs, self._table, self._graphs.layout
            unrounded = layout.plan(()).weighted - layout.plan(self._named).weighted
            if unrounded:  # blocks that the user keeps are measured as well
                levels = _round(self.source, layout, self._images, unrounded)
                graphs = self._graphs = dataclasses.replace(graphs, rounded={**levels, **graphs.rounded})
            self._by_block = rank_by_sensitivity(
                graphs.layout.blocks, lambda block: graphs.write(table, (), only=block), self._scorer
            )
        return self._by_block

    @functools.cached_property
    def _order(self) -> tuple[str, ...]:
        layout, kept = self._graphs.layout, self.kept()
        order: tuple[str, ...] = ()
        for block in self._sensitivity():
            before, after = (layout.plan((*kept, *order, *more)).weighted for more in ((), (block,)))
            if not after:
                break
            if after != before:
                order = (*order, block)
        return order

    def _score(self, kept: tuple[str, ...]) -> Similarity:
        if kept not in self._scores:
            self._scores[kept] = self._scorer.score(self._graphs.write(self._table, kept))
        return self._scores[kept]

    def _renamed(self, implicit: ImplicitInt8) -> ImplicitInt8:
        """Name the input's scale after the normalized value of a uint8 input."""
        from hrnet_deploy.exporters.uint8_input import NORMALIZED

        (entry,) = self.source.model.graph.input
        return implicit if self.source.plan.pixels is None else implicit.renamed(entry.name, NORMALIZED)


def _with_integer_input(source: FloatGraph) -> tuple[onnx.ModelProto, dict[str, ActivationRange]]:
    """Let a segmentation model's first convolution read integers on the CPU; a classifier's stays in float.

    A classifier has small maps: its first convolution in float costs little, and each of its labels counts.
    """
    from hrnet_deploy.exporters.integer_input import add_integer_input

    plan = source.plan
    if plan.int8.target is QdqTarget.TENSORRT or source.info.task is Task.CLASSIFICATION:
        return source.model, {}
    return add_integer_input(source.model, plan.preprocessing.mean, plan.preprocessing.std)


def _split(source: FloatGraph) -> CalibrationSplit:
    """Calibration images of the plan, and validation images that differ from all of them."""
    plan = source.plan
    if plan.images is None:
        raise UsageError("precision int8 needs a plan with images to calibrate on, got none. Give --calib-data.")
    judging = plan.evaluation if plan.accuracy is None else plan.accuracy.images()
    return choose_validation(plan.images, judging, allow_overlap=plan.int8.allow_overlap)


def _open_scorer(source: FloatGraph, images: CalibrationSplit) -> SimilarityScorer:
    """Score on the validation images; "auto" also takes the label margins of a classifier's calibration images."""
    with_margins = AUTO in source.plan.int8.keep_fp and source.info.task is Task.CLASSIFICATION
    margins = source.inputs(images.calibration if with_margins else ())
    return SimilarityScorer(source.model, source.inputs(images.validation), margins, source.threshold)


def _round(
    source: FloatGraph, layout: QdqLayout, images: CalibrationSplit, nodes: frozenset[str]
) -> dict[str, NDArray[np.int8]]:
    """Round the weights of some convolutions."""
    inputs = source.inputs(images.calibration[:ENOUGH_IMAGES])
    return round_weights(layout.graph, nodes, inputs, per_channel=source.plan.int8.per_channel)


def _open_graphs(
    source: FloatGraph,
    layout: QdqLayout,
    known: Mapping[str, ActivationRange],
    images: CalibrationSplit,
    rounded: Mapping[str, NDArray[np.int8]],
) -> QdqGraphs:
    """Collect what every Q/DQ graph is written from; an FP16 remainder has nodes that stay in float32."""
    options, float_nodes = source.plan.int8, None
    if options.remainder == Precision.FP16.value:
        float_nodes = fp16_unsafe_nodes(source.model, source.inputs(images.calibration[:RANGE_IMAGES]))
    return QdqGraphs(
        graph=source.model,
        layout=layout,
        known=known,
        rounded=rounded,
        per_channel=options.per_channel,
        float_nodes=float_nodes,
    )


def _best_method(
    table: CalibrationTable, graphs: QdqGraphs, scorer: SimilarityScorer, named: tuple[str, ...]
) -> CalibrationTable:
    """Choose the method whose graph has the lowest divergence."""
    from hrnet_deploy.calibration.thresholds import METHODS

    divergence: dict[str, float] = {}
    for method in bar(METHODS, desc="choosing the method"):
        graph = graphs.write(dataclasses.replace(table, method=method), named)
        divergence[method] = scorer.score(graph).divergence
    best = min(divergence, key=lambda method: divergence[method])
    return dataclasses.replace(table, method=best, scores={method: -value for method, value in divergence.items()})
