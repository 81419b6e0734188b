"""Where a drop comes from: the checkpoint as it was trained, step by step to the artefact, on the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import MissingDependencyError, UsageError
from hrnet_deploy.evaluation import DataFacts, Dataset, Drop, Evaluation, Model, compare, evaluate
from hrnet_deploy.evaluation.run import DataOptions, dataset_for, opened
from hrnet_deploy.export.gate.in_memory_model import CachedModel, Feed, OnnxModel
from hrnet_deploy.export.open_source import open_source
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.quantize.fp16 import fp16_unsafe_nodes
from hrnet_deploy.export.reference_transforms import own_transform
from hrnet_deploy.export.source import RANDOM, SourceModel, recorded_options
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.models.weights import resolve_weights
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import ModelCard, Precision, Resize, TensorSpec

if TYPE_CHECKING:
    import onnx

_RANGE_IMAGES = 32
_FLOAT = TensorSpec("input", "float32", ("batch", 3, "height", "width"))
_PIXELS = TensorSpec("input", "uint8", ("batch", "height", "width", 3))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One row.

    Attributes:
        name: what is measured.
        value: its metric, 0..1; None where it could not be measured.
        drop: against the row before, with its paired interval; None for the first.
        total: points lost since the first row.
        agreement: share of answers equal to those of the row before, 0..1; None for the first.
        reason: why it could not be measured, in one line.
    """

    name: str
    value: float | None = None
    drop: Drop | None = None
    total: float = 0.0
    agreement: float | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**vars(self), "drop": None if self.drop is None else self.drop.to_dict()}


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    """Every step from the checkpoint to the artefacts.

    Attributes:
        metric: what is measured, such as "top-1".
        data: the images.
        steps: in order.
    """

    metric: str
    data: DataFacts
    steps: tuple[Step, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"metric": self.metric, "data": self.data.to_dict(), "steps": [step.to_dict() for step in self.steps]}

    def __str__(self) -> str:
        """The table a person reads."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        wide = max(len(step.name) for step in self.steps)
        yield f"waterfall: {self.metric} on {self.data.images} images, in points lost"
        yield f"  {'':<{wide}}  {self.metric:>6}  {'step':>6}  {'95 % interval':>16}  {'total':>6}  same as before"
        for step in self.steps:
            if step.value is None:
                yield f"  {step.name:<{wide}}  {step.reason}"
                continue
            head = f"  {step.name:<{wide}}  {100 * step.value:>6.2f}"
            if step.drop is None or step.agreement is None:
                yield head
                continue
            ends = "-" if step.drop.low is None else f"{step.drop.low:+.2f} to {step.drop.high:+.2f}"
            yield f"{head}  {step.drop.points:>+6.2f}  {ends:>16}  {step.total:>+6.2f}  {step.agreement:>14.2%}"


def measure_waterfall(
    artefacts: Sequence[str | Path],
    data: str | Path | Dataset,
    *,
    model: str | None = None,
    weights: str | Path | None = None,
    task: str | None = None,
    source: SourceModel | None = None,
    labels: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    label_values: Sequence[int] | None = None,
    ignore_label: int | None = None,
    device: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
) -> Waterfall:
    """Measure checkpoint, preprocessing, tracing, simplifying, FP16 and artefacts, each against the one before.

    Args:
        artefacts: .onnx or .engine files made from one checkpoint; the first says how images are prepared.
        data: labelled images, as for `evaluate`.
        model: as for `export_artifact`.
        weights: the checkpoint, as for `export_artifact`.
        task: of a foreign .onnx given as `model`.
        source: the model, where it is open already; None to open it as the first artifact's was.
        labels: as for `evaluate`.
        split: as for `evaluate`.
        limit: as for `evaluate`.
        label_values: as for `evaluate`.
        ignore_label: as for `evaluate`.
        device: for the artefacts, as for `evaluate`.
        backend: for the artefacts, as for `evaluate`.
        threads: for the artefacts, as for `evaluate`.

    Returns:
        One row a step; FP16 is made for the purpose where an INT8 artefact is there and none in FP16.

    Raises:
        UsageError: no artefact, or one made from other weights.
        HrnetDeployError: whatever loading, tracing and evaluating raise.
    """
    if not artefacts:
        raise UsageError("a waterfall needs an artefact at its end, got none. Name one.")
    with opened(list(artefacts), device=device, backend=backend, threads=threads, lanes=1) as ends:
        card = ends[0].facts.card
        origin = source or _reopened(model, weights, task, card)
        for end in ends:
            _check_same_weights(origin, end.facts.card, end.facts.name)
        dataset = dataset_for(ends, data, DataOptions(labels, split, limit, label_values, ignore_label))
        last = sorted(ends, key=lambda end: list(Precision).index(end.facts.card.precision))
        precisions = {end.facts.card.precision for end in last}
        between = Precision.INT8 in precisions and Precision.FP16 not in precisions
        stages = _stages(origin, card, dataset, half=between)
        return _measured([*stages, *((end.facts.name, end.model) for end in last)], dataset)


class _Original:
    """The checkpoint itself, with our preprocessing."""

    device = "cpu"
    backend = "original"

    def __init__(self, origin: SourceModel, card: ModelCard) -> None:
        self.card = card
        self._origin = origin

    def infer(self, batch: Feed) -> Tensors:
        (array,) = batch.values() if isinstance(batch, Mapping) else (batch,)
        return {self.card.outputs[0].name: self._origin.run(np.asarray(array, np.float32))}


class _OnItsOwn(_Original):
    """The checkpoint with the preprocessing of its training code: it takes whole pictures."""

    def __init__(self, origin: SourceModel, card: ModelCard) -> None:
        whole = dataclasses.replace(card.preprocessing, resize=Resize.NONE, size_hw=None)
        super().__init__(origin, dataclasses.replace(card, preprocessing=whole, inputs=(_PIXELS,), pixels_in=True))
        self._spec = card.preprocessing

    def infer(self, batch: Feed) -> Tensors:
        (array,) = batch.values() if isinstance(batch, Mapping) else (batch,)
        return super().infer(np.stack([own_transform(pixels.astype(np.uint8), self._spec) for pixels in array]))


def _stages(origin: SourceModel, card: ModelCard, dataset: Dataset, *, half: bool) -> Iterator[tuple[str, Model | str]]:
    """What lies before the artefacts: a model, or why there is none."""
    from hrnet_deploy.exporters.fp16 import to_fp16
    from hrnet_deploy.exporters.simplify import simplify

    plain = _plain(card, origin)
    own = "checkpoint, its own preprocessing"
    try:
        own_transform(np.zeros((8, 9, 3), np.uint8), plain.preprocessing)
        yield own, _OnItsOwn(origin, plain)
    except MissingDependencyError as error:
        yield own, f"left out: {error}"
    yield "checkpoint, our preprocessing", _Original(origin, plain)
    graph = origin.to_onnx(card.shapes, None)
    yield "ONNX as traced", _graph(graph, plain)
    graph = simplify(graph)
    yield "ONNX simplified", _graph(graph, plain)
    if half:
        make = Preprocessor(plain.preprocessing)
        samples = dataset.limited(_RANGE_IMAGES).samples
        images = (make(read_frame(str(sample.path)).image)[None] for sample in samples)
        yield "FP16", _graph(to_fp16(graph, fp16_unsafe_nodes(graph, images)).model, plain)


def _graph(graph: onnx.ModelProto, plain: ModelCard) -> OnnxModel:
    from hrnet_deploy.exporters.onnx_file import describe

    inputs, outputs = describe(graph)
    return OnnxModel(graph, dataclasses.replace(plain, inputs=inputs, outputs=outputs))


def _plain(card: ModelCard, origin: SourceModel) -> ModelCard:
    """The card of the net before anything was added: floats in, in its own channel order, scores out."""
    own, order = card.preprocessing, origin.info.preprocessing.channel_order
    if own.channel_order is not order:
        own = dataclasses.replace(own, channel_order=order, mean=own.mean[::-1], std=own.std[::-1])
    return dataclasses.replace(
        card,
        precision=Precision.FP32,
        preprocessing=own,
        inputs=(_FLOAT,),
        outputs=(TensorSpec("logits", "float32", ("batch", len(card.classes))),),
        output_kind=origin.info.output_kind,
        pixels_in=False,
    )


def _measured(rows: Sequence[tuple[str, Model | str]], dataset: Dataset) -> Waterfall:
    """Each row against the one before; a model that is met twice answers once."""
    steps: list[Step] = []
    first: Evaluation | None = None
    before: Model | None = None
    for name, model in rows:
        if isinstance(model, str):
            steps.append(Step(name=name, reason=model))
            continue
        current = CachedModel(model)
        if first is None or before is None:
            first = evaluate(current, dataset, batch=_batch(current))
            steps.append(Step(name=name, value=first.metrics.value))
        else:
            comparison = compare(before, [current], dataset, batch=_batch(before, current))
            (contrast,) = comparison.candidates
            value = contrast.evaluation.metrics.value
            steps.append(
                Step(
                    name=name,
                    value=value,
                    drop=contrast.drop,
                    total=100 * (first.metrics.value - value),
                    agreement=contrast.agreement,
                )
            )
        before = current
    if first is None:
        raise UsageError("a waterfall needs a row that can be measured, got none. Name an artefact.")
    return Waterfall(metric=first.metrics.name, data=first.data, steps=tuple(steps))


def _batch(*models: Model) -> int:
    """Images per run: what a graph insists on, else one."""
    fixed = (model.card.inputs[0].shape[0] for model in models)
    return max([1, *(count for count in fixed if isinstance(count, int))])


def _reopened(model: str | None, weights: str | Path | None, task: str | None, card: ModelCard) -> SourceModel:
    """Open the model of an artifact in the way that its card records."""
    # A foreign graph with several outputs has one of them in the artifact.
    output = card.lineage.get("graph_output") if str(model).endswith(".onnx") else None
    how = recorded_options(card) if _made_from(card, weights) else {}
    return open_source(ExportOptions(model=model, weights=weights, task=task, graph_output=output, **how))


def _made_from(card: ModelCard, weights: str | Path | None) -> bool:
    """Whether these are an artefact's own weights, which its card says how to read."""
    digest = card.lineage.get("weights_sha256")
    given = None if weights is None or weights == RANDOM else resolve_weights(str(weights))
    return given is not None and digest is not None and sha256_file(given) == digest


def _check_same_weights(origin: SourceModel, card: ModelCard, name: str) -> None:
    ours, theirs = (lineage.get("weights_sha256") for lineage in (origin.info.lineage, card.lineage))
    if ours and theirs and ours != theirs:
        raise UsageError(
            f"a waterfall needs the weights {name} was made from ({card.lineage.get('weights', theirs)}), got "
            f"{origin.info.lineage.get('weights', ours)}. Give those."
        )
