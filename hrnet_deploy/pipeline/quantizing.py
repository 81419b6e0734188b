"""INT8: calibrate once, choose method and blocks by what held-out images say, write Q/DQ into the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hrnet_deploy.errors import UsageError, VerificationError
from hrnet_deploy.pipeline.calibrating import calibrate, data_folder, input_batches, judged_by, pick_images
from hrnet_deploy.pipeline.facts import Facts
from hrnet_deploy.pipeline.halving import beyond_half
from hrnet_deploy.pipeline.planning import Plan
from hrnet_deploy.pipeline.scoring import Score, Scorer
from hrnet_deploy.progress import bar
from hrnet_deploy.quantization import ActivationRange, QdqPlan, QdqTarget
from hrnet_deploy.spec import Precision, Task

if TYPE_CHECKING:
    import onnx

    from hrnet_deploy.calibration.table import CalibrationTable

AUTO = "auto"
_RANGE_IMAGES = 32
_ENOUGH = {Task.CLASSIFICATION: 0.995, Task.SEGMENTATION: 0.998}
"""Expected agreement at which `--keep-fp auto` stops taking blocks out of INT8."""
_BROKEN = 0.5
_NOISE_DB = 3.0
"""With fewer equal answers and as much noise a graph is not a worse net but a wrong one.

Answers alone do not tell: of a net whose thousand classes are all but equally likely, any noise changes most.
"""


@dataclass(frozen=True)
class Quantized:
    """An INT8 graph and what was measured while it was made.

    Attributes:
        model: the Q/DQ graph.
        target: whose kernels it suits.
        table: the ranges it was made from, with the method in use.
        score: likeness to the float32 graph.
        held_out: how many images judged it.
        kept: blocks and nodes kept in floating point beyond the recipe's own.
        sensitivity: by block, the score of a graph in which that block alone is INT8; empty unless asked for.
    """

    model: onnx.ModelProto
    target: QdqTarget
    table: CalibrationTable
    score: Score
    held_out: int
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
        }

    def measured(self) -> dict[str, float]:
        """What the card says of the likeness to float32."""
        scores = {f"heldout_{name}": value for name, value in dataclasses.asdict(self.score).items()}
        methods = {f"heldout_divergence_{method}": -value for method, value in self.table.scores.items()}
        return scores | methods | {"heldout_images": float(self.held_out)}


def quantize(graph: onnx.ModelProto, plan: Plan, facts: Facts) -> Quantized:
    """Make a simplified float32 graph INT8.

    Args:
        graph: left as it is.
        plan: what was asked for; its `int8` says how.
        facts: of the net.

    Returns:
        The INT8 graph and its measurements.

    Raises:
        UsageError: no calibration data, or a method, block or target that does not exist.
        ImageError: an image that cannot be used.
        VerificationError: the graph no longer answers like the net.
    """
    wishes = plan.int8
    recipe = _Recipe(graph, wishes.target)
    named = tuple(name for name in wishes.keep_fp if name != AUTO)
    if not recipe(named).weighted:
        beside = ", ".join(("the stem", "the last layer", *named))
        raise UsageError(f"int8 needs a convolution to quantise, got none beside {beside}. Keep less, or use fp16.")
    folder = data_folder(wishes.data)
    images = pick_images(folder, wishes.images, allow_val=wishes.allow_val)
    evaluation = None if wishes.evaluation is None else Path(wishes.evaluation)
    images = judged_by(images, evaluation, allow_overlap=wishes.allow_overlap)
    first = "entropy" if wishes.method == AUTO else wishes.method
    cache = Path(wishes.cache) if wishes.cache else plan.path.with_suffix(".calib.json")
    table = calibrate(graph, images, plan.preprocessing, first, cache)
    # An image's many pixels tell enough; of labels there are few, and those calibrated on have honest margins.
    others = images.calibration if AUTO in wishes.keep_fp and facts.task is Task.CLASSIFICATION else ()
    scorer = Scorer(
        graph,
        input_batches(images.held_out, plan.preprocessing),
        input_batches(others, plan.preprocessing) if others else (),
    )
    half = None
    if wishes.remainder == Precision.FP16.value:
        half = beyond_half(graph, input_batches(images.calibration[:_RANGE_IMAGES], plan.preprocessing))
    render = _Renderer(graph, recipe, per_channel=wishes.per_channel, half=half)
    if wishes.method == AUTO:
        table = _best_method(table, render, scorer, named)
        table.save(cache)
    sensitivity = _sensitivity(table, render, scorer) if wishes.sensitivity or AUTO in wishes.keep_fp else {}
    enough = _ENOUGH[facts.task] if AUTO in wishes.keep_fp else 0.0  # any agreement will do: nothing more is kept
    named, model, score = _kept(table, render, scorer, sensitivity, named, enough)
    if score.agreement < _BROKEN and not score.sqnr_db >= _NOISE_DB:
        raise VerificationError(
            f"int8 artefact must answer like its original, got {score.agreement:.1%} of equal answers and "
            f"{score.sqnr_db:.1f} dB on {scorer.count} held-out images. Calibrate on more images like those the net "
            "sees, or use --keep-fp auto."
        )
    return Quantized(model, wishes.target, table, score, scorer.count, named, sensitivity)


class _Recipe:
    """Where Q/DQ pairs go, for any set of blocks kept in floating point."""

    def __init__(self, graph: onnx.ModelProto, target: QdqTarget) -> None:
        from hrnet_deploy.calibration.blocks import blocks
        from hrnet_deploy.calibration.recipe import float_by_default

        self.blocks = blocks(graph)
        self._graph = graph
        self._target = target
        self._default = float_by_default(graph)

    def __call__(self, kept: tuple[str, ...], only: str | None = None) -> QdqPlan:
        """The plan; with `only`, that block alone is INT8."""
        from hrnet_deploy.calibration.blocks import resolve
        from hrnet_deploy.calibration.recipe import plan

        keep = self._default | resolve(kept, self._graph)
        if only is not None:
            keep |= frozenset().union(*(nodes for block, nodes in self.blocks.items() if block != only))
        return plan(self._graph, self._target, keep)


class _Renderer:
    """Writes one graph for any table and any set of blocks kept in floating point."""

    def __init__(
        self, graph: onnx.ModelProto, recipe: _Recipe, *, per_channel: bool, half: frozenset[str] | None
    ) -> None:
        self.recipe = recipe
        self._graph = graph
        self._per_channel = per_channel
        self._half = half  # nodes to keep in float32 where the rest becomes FP16

    def __call__(self, table: CalibrationTable, kept: tuple[str, ...], only: str | None = None) -> onnx.ModelProto:
        """The Q/DQ graph; with `only`, that block alone is INT8."""
        from hrnet_deploy.exporters.fp16 import to_fp16
        from hrnet_deploy.exporters.qdq import to_qdq

        layout = self.recipe(kept, only)
        amax = table.amax()
        ranges = {name: _clipped(table, name, amax[name]) for name in layout.measured}
        model = to_qdq(self._graph, layout, ranges, per_channel=self._per_channel)
        return model if self._half is None else to_fp16(model, self._half).model


def _clipped(table: CalibrationTable, name: str, amax: float) -> ActivationRange:
    """The values seen, clipped to the threshold on both sides; zero is always among them."""
    seen = table.tensors[name]
    if amax > max(-seen.low, seen.high):  # the table's floor: a smaller range would give a scale it exists to prevent
        return ActivationRange(-amax if seen.low < 0 else 0.0, amax)
    low, high = max(min(seen.low, 0.0), -amax), min(max(seen.high, 0.0), amax)
    return ActivationRange(low, high)


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


def _sensitivity(table: CalibrationTable, render: _Renderer, scorer: Scorer) -> dict[str, Score]:
    """Quantise one block at a time; the one that loses most comes first."""
    blocks = render.recipe.blocks
    scores = {block: scorer.score(render(table, (), only=block)) for block in bar(blocks, desc="sensitivity")}
    return dict(sorted(scores.items(), key=lambda item: -item[1].divergence))


def _kept(
    table: CalibrationTable,
    render: _Renderer,
    scorer: Scorer,
    sensitivity: Mapping[str, Score],
    named: tuple[str, ...],
    enough: float,
) -> tuple[tuple[str, ...], onnx.ModelProto, Score]:
    """Take the most sensitive blocks out of INT8 until the answers agree well enough or one block is left."""
    model = render(table, named)
    score = scorer.score(model)
    for block in sensitivity:
        if score.expected >= enough or not render.recipe((*named, block)).weighted:
            break
        if block not in named:
            named = (*named, block)
            model = render(table, named)
            score = scorer.score(model)
    return named, model, score
