"""INT8: calibrate once, choose method and blocks by what held-out images say, write Q/DQ into the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hrnet_deploy.errors import UsageError, VerificationError
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.quantize.calibrate import calibrate, input_batches, judged_by
from hrnet_deploy.export.quantize.fp16 import fp16_unsafe_nodes
from hrnet_deploy.export.quantize.similarity import Score, Scorer, ranked
from hrnet_deploy.export.quantize.weight_rounding import ENOUGH_IMAGES, rounded_weights
from hrnet_deploy.export.source import ModelInfo
from hrnet_deploy.processing.two_classes import cut_of
from hrnet_deploy.qdq_plan import ActivationRange, QdqPlan, QdqTarget, Residual
from hrnet_deploy.spec import Precision, Task
from hrnet_deploy.system.progress import bar

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from hrnet_deploy.calibration.implicit_int8 import ImplicitInt8
    from hrnet_deploy.calibration.table import CalibrationTable

AUTO = "auto"
NONE = "none"
"""Of --keep-fp: nothing stays in floating point, what the recipe keeps included, but what is named beside it."""
_RANGE_IMAGES = 32
_ENOUGH = {Task.CLASSIFICATION: 0.995, Task.SEGMENTATION: 0.9985}
"""Expected agreement at which `--keep-fp auto` stops taking blocks out of INT8.

The person net's 100 other photos were 0.15 points worse than the 20 held-out ones.
"""
_BROKEN = 0.5
_NOISE_DB = 3.0
"""With fewer equal answers and as much noise a graph is not a worse net but a wrong one, also of random weights.

Those have no floor of agreement (see `agreement`): their classes are all but equally likely, and any noise changes
most answers.
"""


@dataclass(frozen=True)
class Int8Graph:
    """An INT8 graph and what was measured while it was made.

    Attributes:
        model: the Q/DQ graph.
        target: whose kernels it suits.
        residual: what its sums read, where it suits TensorRT.
        table: the ranges it was made from, with the method in use.
        score: likeness to the float32 graph.
        held_out: how many images judged it.
        implicit: the same quantisation of the float32 graph, for TensorRT's calibrator; None where none reads it.
        kept: blocks and nodes kept in floating point beyond the recipe's own.
        sensitivity: by block, the score of a graph in which that block alone is INT8; empty unless asked for.
    """

    model: onnx.ModelProto
    target: QdqTarget
    residual: Residual
    table: CalibrationTable
    score: Score
    held_out: int
    implicit: ImplicitInt8 | None
    kept: tuple[str, ...] = ()
    sensitivity: Mapping[str, Score] = field(default_factory=dict)

    def lineage(self) -> dict[str, str]:
        """What the card says of the calibration."""
        return {
            "calib_method": self.table.method,
            "calib_images": str(self.table.provenance.images),
            "calib_images_sha256": self.table.provenance.image_list_sha256,
            "qdq_target": self.target.value,
            "kept_fp": ",".join(self.kept),
        } | ({"residual": self.residual.value} if self.target is QdqTarget.TENSORRT else {})

    def measured(self) -> dict[str, float]:
        """What the card says of the likeness to float32."""
        scores = {f"heldout_{name}": value for name, value in dataclasses.asdict(self.score).items()}
        methods = {f"heldout_divergence_{method}": -value for method, value in self.table.scores.items()}
        return scores | methods | {"heldout_images": float(self.held_out)}


class Int8Converter:
    """Makes INT8 graphs of one net: calibrated once, with any blocks kept in floating point."""

    def __init__(self, graph: onnx.ModelProto, plan: ExportPlan, facts: ModelInfo) -> None:
        """Calibrate, and choose the method where that is asked for.

        Args:
            graph: a simplified float32 graph, left as it is.
            plan: what was asked for; its `int8` says how.
            facts: of the net.

        Raises:
            UsageError: no calibration data, or a method, block or target that does not exist.
            ImageError: an image that cannot be used.
        """
        wishes = plan.int8
        self._target, self._residual = wishes.target, wishes.residual
        self._for_tensorrt = wishes.target is QdqTarget.TENSORRT or wishes.trt_cache is not None
        self._keep_rejected = plan.options.keep_rejected
        layout, known = _laid_out(graph, plan, facts.task)
        recipe = _Recipe(layout, wishes.target, wishes.residual)
        self._named = tuple(name for name in wishes.keep_fp if name != AUTO)
        if not recipe(self._named).weighted:
            beside = ", ".join(("what the recipe keeps", *self._named))
            raise UsageError(f"int8 needs a convolution to quantise, got none beside {beside}. Keep less, or use fp16.")
        if plan.images is None:
            raise UsageError("precision int8 needs a plan with images to calibrate on, got none. Give --calib-data.")
        judging = plan.evaluation if plan.accuracy is None else plan.accuracy.images()
        images = judged_by(plan.images, judging, allow_overlap=wishes.allow_overlap)
        first = "entropy" if wishes.method == AUTO else wishes.method
        cache = wishes.cache or plan.path.with_suffix(".calib.json")
        self._table = calibrate(graph, images, plan.preprocessing, first, cache)
        # An image's many pixels tell enough; of labels there are few, and those calibrated on have honest margins.
        margins = images.calibration if AUTO in wishes.keep_fp and facts.task is Task.CLASSIFICATION else ()
        self._scorer = Scorer(
            graph,
            input_batches(images.held_out, plan.preprocessing),
            input_batches(margins, plan.preprocessing) if margins else (),
            cut_of(plan.threshold, facts.output_kind),
        )
        half = None
        if wishes.remainder == Precision.FP16.value:
            half = fp16_unsafe_nodes(graph, input_batches(images.calibration[:_RANGE_IMAGES], plan.preprocessing))
        rounded = rounded_weights(
            layout,
            recipe((NONE,)).weighted,
            input_batches(images.calibration[:ENOUGH_IMAGES], plan.preprocessing),
            per_channel=wishes.per_channel,
        )
        self._render = _Renderer(graph, layout, known, recipe, rounded, per_channel=wishes.per_channel, half=half)
        if wishes.method == AUTO:
            self._table = _best_method(self._table, self._render, self._scorer, self._named)
            self._table.save(cache)
        # Any agreement will do where nothing shall be kept beyond what is named.
        self._enough = _ENOUGH[facts.task] if AUTO in wishes.keep_fp else 0.0
        self._sensitivity: dict[str, Score] = {}
        self._scores: dict[tuple[str, ...], Score] = {}
        if wishes.sensitivity:
            self._blocks()

    def kept(self) -> tuple[str, ...]:
        """Blocks and nodes kept as the user asked: those named, and with "auto" the most sensitive blocks.

        Returns:
            Their names.
        """
        kept = self._named
        for block in self._blocks() if self._enough else ():
            if self._score(kept).expected >= self._enough or not self._render.recipe((*kept, block)).weighted:
                break
            if block not in kept:
                kept = (*kept, block)
        return kept

    def order(self) -> tuple[str, ...]:
        """Blocks that may be kept beyond `kept()`, most sensitive first, as long as one is left in INT8.

        Returns:
            Their names; those without a convolution in INT8 are left out.
        """
        recipe, kept = self._render.recipe, self.kept()
        order: tuple[str, ...] = ()
        for block in self._blocks():
            before, after = (recipe((*kept, *order, *more)).weighted for more in ((), (block,)))
            if not after:
                break
            if after != before:
                order = (*order, block)
        return order

    def render(self, kept: tuple[str, ...]) -> onnx.ModelProto:
        """Write the Q/DQ graph.

        Args:
            kept: blocks and nodes kept in floating point beyond the recipe's own.

        Returns:
            A new graph.
        """
        return self._render(self._table, kept)

    def untyped(self, kept: tuple[str, ...]) -> onnx.ModelProto:
        """Write the float32 graph whose weights lie on the INT8 levels that the Q/DQ graph stores.

        Args:
            kept: as for `render`; what they keep has its own weights.

        Returns:
            A new graph.
        """
        return self._render.untyped(kept)

    def make(self, kept: tuple[str, ...]) -> Int8Graph:
        """Write the Q/DQ graph and compare it with the float32 one.

        Args:
            kept: as for `render`.

        Returns:
            The graph and its measurements.

        Raises:
            VerificationError: the graph no longer answers like the net.
        """
        score = self._score(kept)
        if score.agreement < _BROKEN and not score.sqnr_db >= _NOISE_DB and not self._keep_rejected:
            raise VerificationError(
                f"int8 artefact must answer like its original, got {score.agreement:.1%} of equal answers and "
                f"{score.sqnr_db:.1f} dB on {self._scorer.count} held-out images. Calibrate on more images like those "
                "the net sees, or use --keep-fp auto."
            )
        return Int8Graph(
            model=self.render(kept),
            target=self._target,
            residual=self._residual,
            table=self._table,
            score=score,
            held_out=self._scorer.count,
            implicit=self._render.implicit(self._table, kept) if self._for_tensorrt else None,
            kept=kept,
            sensitivity=self._sensitivity,
        )

    def _blocks(self) -> Mapping[str, Score]:
        if not self._sensitivity:
            blocks = self._render.recipe.blocks
            self._sensitivity = ranked(blocks, lambda only: self._render(self._table, (), only=only), self._scorer)
        return self._sensitivity

    def _score(self, kept: tuple[str, ...]) -> Score:
        if kept not in self._scores:
            self._scores[kept] = self._scorer.score(self.render(kept))
        return self._scores[kept]


def _laid_out(
    graph: onnx.ModelProto, plan: ExportPlan, task: Task
) -> tuple[onnx.ModelProto, dict[str, ActivationRange]]:
    """The graph as its INT8 form computes it, and ranges that need no calibration.

    A classifier has small maps: its first convolution in float costs little, and each of its labels counts.
    """
    from hrnet_deploy.exporters.integer_input import add_integer_input

    if plan.int8.target is QdqTarget.TENSORRT or task is Task.CLASSIFICATION:
        return graph, {}
    return add_integer_input(graph, plan.preprocessing.mean, plan.preprocessing.std)


class _Recipe:
    """Where Q/DQ pairs go, for any set of blocks kept in floating point."""

    def __init__(self, graph: onnx.ModelProto, target: QdqTarget, residual: Residual) -> None:
        from hrnet_deploy.calibration.blocks import blocks
        from hrnet_deploy.calibration.qdq_placement import float_by_default

        self.blocks = blocks(graph)
        self._graph = graph
        self._target, self._residual = target, residual
        self._default = float_by_default(graph, target)

    def keep(self, kept: tuple[str, ...]) -> frozenset[str]:
        """Names of the nodes in floating point, the recipe's own included."""
        from hrnet_deploy.calibration.blocks import resolve

        named = resolve((name for name in kept if name != NONE), self._graph)
        return named if NONE in kept else self._default | named

    def __call__(self, kept: tuple[str, ...], only: str | None = None) -> QdqPlan:
        """The plan; with `only`, that block alone is INT8."""
        from hrnet_deploy.calibration.qdq_placement import place_qdq

        keep = self.keep(kept)
        if only is not None:
            keep |= frozenset().union(*(nodes for block, nodes in self.blocks.items() if block != only))
        return place_qdq(self._graph, self._target, keep, self._residual)


class _Renderer:
    """Writes one graph for any table and any set of blocks kept in floating point."""

    def __init__(
        self,
        graph: onnx.ModelProto,
        layout: onnx.ModelProto,
        known: Mapping[str, ActivationRange],
        recipe: _Recipe,
        rounded: Mapping[str, NDArray[np.int8]],
        *,
        per_channel: bool,
        half: frozenset[str] | None,
    ) -> None:
        from hrnet_deploy.calibration.qdq_placement import residual_inputs, threshold_floors

        self.recipe = recipe
        self._graph = graph
        self._layout = layout
        self._known = known
        self._summands = residual_inputs(graph)
        self._floors = threshold_floors(graph)
        self._rounded = rounded
        self._per_channel = per_channel
        self._for_tensorrt = _Recipe(graph, QdqTarget.TENSORRT, Residual.FLOAT)  # its calibrator reads this graph
        self._half = half  # nodes to keep in float32 where the rest becomes FP16

    def __call__(self, table: CalibrationTable, kept: tuple[str, ...], only: str | None = None) -> onnx.ModelProto:
        """The Q/DQ graph; with `only`, that block alone is INT8."""
        from hrnet_deploy.exporters.fp16 import to_fp16
        from hrnet_deploy.exporters.qdq import to_qdq

        plan = self.recipe(kept, only)
        ranges = dict(self._known) | self._ranges(table, (name for name in plan.measured if name not in self._known))
        # Where the first convolution stays in float, nothing is gained by showing it another input.
        graph = self._graph if self._known.keys().isdisjoint(plan.tensors) else self._layout
        model = to_qdq(graph, plan, ranges, per_channel=self._per_channel, rounded=self._rounded)
        return model if self._half is None else to_fp16(model, self._half).model

    def implicit(self, table: CalibrationTable, kept: tuple[str, ...]) -> ImplicitInt8:
        """Scales of the float32 graph, clipped as in the Q/DQ graph for TensorRT, and what stays in float there."""
        from hrnet_deploy.calibration.implicit_int8 import implicit_int8

        return implicit_int8(self._graph, self._ranges(table, table.tensors), self._for_tensorrt.keep(kept))

    def untyped(self, kept: tuple[str, ...]) -> onnx.ModelProto:
        """The float32 graph with rounded weights, where each channel has a scale of its own, as in TensorRT."""
        from hrnet_deploy.exporters.baked_weights import with_rounded_weights

        keep = self._for_tensorrt.keep(kept)
        floats = {n.input[1] for n in self._graph.graph.node if n.op_type == "Conv" and (n.name or n.output[0]) in keep}
        rounded = {name: levels for name, levels in self._rounded.items() if name not in floats}
        return with_rounded_weights(self._graph, rounded if self._per_channel else {})

    def _ranges(self, table: CalibrationTable, names: Iterable[str]) -> dict[str, ActivationRange]:
        """What is clipped where, by the method in use and the floors of the stem."""
        amax = {method: table.amax(method) for method in (table.method, *self._floors.values())}
        found = {}
        for name in names:
            threshold = max(amax[table.method][name], amax[self._floors.get(name, table.method)][name])
            found[name] = table.tensors[name].clipped(threshold, summand=name in self._summands)
        return found


def _best_method(
    table: CalibrationTable, render: _Renderer, scorer: Scorer, named: tuple[str, ...]
) -> CalibrationTable:
    """Score every method's graph; the one whose class shares diverge least wins."""
    from hrnet_deploy.calibration.thresholds import METHODS

    scores: dict[str, Score] = {}
    for method in bar(METHODS, desc="choosing the method"):
        scores[method] = scorer.score(render(dataclasses.replace(table, method=method), named))
    best = min(scores, key=lambda method: scores[method].divergence)
    return dataclasses.replace(
        table, method=best, scores={method: -score.divergence for method, score in scores.items()}
    )
