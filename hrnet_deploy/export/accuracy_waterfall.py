"""Accuracy after each step from the trained checkpoint to the artifacts, on the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import MissingDependencyError, UsageError
from hrnet_deploy.evaluation import Dataset, Evaluation, Model, compare, evaluate
from hrnet_deploy.evaluation.loaded_model import Artifact, open_models
from hrnet_deploy.evaluation.model_runner import Feed
from hrnet_deploy.evaluation.options import EvaluationOptions
from hrnet_deploy.evaluation.run import dataset_for
from hrnet_deploy.evaluation.waterfall_result import Waterfall, WaterfallStep
from hrnet_deploy.export.gate.in_memory_model import CachedModel, OnnxModel
from hrnet_deploy.export.graph_io import in_channel_order
from hrnet_deploy.export.open_source import SourceModel, open_source
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.quantize.fp16 import RANGE_IMAGES, fp16_unsafe_nodes
from hrnet_deploy.export.reference_transforms import own_transform
from hrnet_deploy.export.source import RANDOM, recorded_options
from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.exporters.onnx_file import describe
from hrnet_deploy.exporters.simplify import simplify
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.models.weights import resolve_weights
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import ChannelOrder, ModelCard, Precision, Preprocessing, Resize, TensorSpec

_PIXELS = TensorSpec("input", "uint8", ("batch", "height", "width", 3))


def measure_waterfall(
    artifacts: Sequence[Artifact],
    data: str | Path | Dataset,
    *,
    source: SourceModel | None = None,
    model: str | None = None,
    weights: str | Path | None = None,
    task: str | None = None,
    labels: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    label_values: Sequence[int] | None = None,
    ignore_label: int | None = None,
    device: str = "auto",
    backend: str = "auto",
    threads: int | None = None,
) -> Waterfall:
    """Measure checkpoint, preprocessing, tracing, simplifying, FP16 and artifacts, each against the step before.

    `artifacts` are .onnx or .engine files, or URLs, of one checkpoint; the first determines the preprocessing. The
    original is `source`, or it is opened from `model`, `weights` and `task`, which are as for `export`. The other
    arguments are as for `evaluate`; `device`, `backend` and `threads` are for the artifacts. If there is an INT8
    artifact and none in FP16, an FP16 step is created.

    Raises:
        UsageError: no artifact, or one of other weights.
        HrnetDeployError: whatever loading, tracing and evaluating raise.
    """
    if not artifacts:
        raise UsageError("a waterfall needs an artifact at its end, got none. Name one.")
    with open_models(list(artifacts), device=device, backend=backend, threads=threads, streams=1) as ends:
        card = ends[0].info.card
        if card.preprocessing.channel_order is ChannelOrder.RGBA:
            raise UsageError(
                f"a waterfall needs images of a data set, got the RGBA model {ends[0].info.name}. Leave it out."
            )
        origin = _open(card, model, weights, task) if source is None else source
        lineage = origin.info.lineage
        for info in (end.info for end in ends):
            ours, theirs = lineage.get("weights_sha256"), info.card.lineage.get("weights_sha256")
            if ours and theirs and ours != theirs:
                raise UsageError(
                    f"a waterfall needs the weights {info.name} was made from "
                    f"({info.card.lineage.get('weights', theirs)}), got {lineage.get('weights', ours)}. Give those."
                )
        dataset = dataset_for(ends, data, EvaluationOptions(labels, split, limit, label_values, ignore_label))
        last = sorted(ends, key=lambda end: list(Precision).index(end.info.card.precision))
        precisions = {end.info.card.precision for end in last}
        with_fp16 = Precision.INT8 in precisions and Precision.FP16 not in precisions
        stages = _stages(origin, card, dataset, with_fp16=with_fp16)
        return _measured([*stages, *((end.info.name, end.model) for end in last)], dataset)


def _open(card: ModelCard, model: str | None, weights: str | Path | None, task: str | None) -> SourceModel:
    """Open the original as it was opened for the artifact with this card, if that was exported from these weights."""
    output = card.lineage.get("graph_output") if str(model).endswith(".onnx") else None
    given = None if weights is None or weights == RANDOM else resolve_weights(str(weights))
    same = given is not None and sha256_file(given) == card.lineage.get("weights_sha256")
    how = recorded_options(card) if same else {}
    return open_source(ExportOptions(model=model, weights=weights, task=task, graph_output=output, **how))


@dataclasses.dataclass
class _Original:
    """The checkpoint; with `transform`, it takes whole images and preprocesses them as its training code does."""

    origin: SourceModel
    card: ModelCard
    transform: Preprocessing | None = None
    device: str = "cpu"
    backend: str = "original"

    def infer(self, batch: Feed) -> Tensors:
        (array,) = batch.values() if isinstance(batch, Mapping) else (batch,)
        if self.transform is not None:
            array = np.stack([own_transform(pixels.astype(np.uint8), self.transform) for pixels in array])
        scores = next(iter(self.origin.run(np.asarray(array, np.float32)).values()))
        return {self.card.outputs[0].name: scores}


def _stages(
    origin: SourceModel, card: ModelCard, dataset: Dataset, *, with_fp16: bool
) -> Iterator[tuple[str, Model | str]]:
    """Models of the steps before the artifacts; a text is the reason why there is none."""
    plain = dataclasses.replace(  # the model before anything was added
        card,
        precision=Precision.FP32,
        preprocessing=in_channel_order(card.preprocessing, origin.info.preprocessing.channel_order),
        inputs=(
            TensorSpec("input", "float32", ("batch", card.preprocessing.channel_order.channels, "height", "width")),
        ),
        outputs=(TensorSpec("logits", "float32", ("batch", len(card.classes))),),
        output_kind=origin.info.output_kind,
        pixels_in=False,
        quantization=None,
    )

    def in_memory(graph: onnx.ModelProto) -> OnnxModel:
        inputs, outputs = describe(graph)
        return OnnxModel(graph, dataclasses.replace(plain, inputs=inputs, outputs=outputs))

    own = "checkpoint, its own preprocessing"
    try:
        own_transform(np.zeros((8, 9, 3), np.uint8), plain.preprocessing)
        order = plain.preprocessing.channel_order
        order = ChannelOrder.RGB if order is ChannelOrder.GRAY else order
        whole = Preprocessing(resize=Resize.NONE, size_hw=None, channel_order=order)
        takes_pixels = dataclasses.replace(plain, preprocessing=whole, inputs=(_PIXELS,), pixels_in=True)
        yield own, _Original(origin, takes_pixels, plain.preprocessing)
    except MissingDependencyError as error:
        yield own, f"left out: {error}"
    yield "checkpoint, our preprocessing", _Original(origin, plain)
    graph = origin.to_onnx(card.shapes, None)
    yield "ONNX as traced", in_memory(graph)
    graph = simplify(graph)
    yield "ONNX simplified", in_memory(graph)
    if with_fp16:
        make = Preprocessor(plain.preprocessing)
        samples = dataset.limited(RANGE_IMAGES).samples
        images = (make(read_frame(str(sample.path)).image)[None] for sample in samples)
        yield "FP16", in_memory(to_fp16(graph, fp16_unsafe_nodes(graph, images)).model)


def _measured(rows: Sequence[tuple[str, Model | str]], dataset: Dataset) -> Waterfall:
    """Compare each step with the one before; outputs of a step are computed once."""
    steps: list[WaterfallStep] = []
    first: Evaluation | None = None
    before: Model | None = None
    for name, model in rows:
        if isinstance(model, str):
            steps.append(WaterfallStep(name=name, reason=model))
            continue
        current = CachedModel(model)
        if first is None or before is None:
            first = evaluate(current, dataset, batch=_batch(current))
            steps.append(WaterfallStep(name=name, value=first.metrics.value))
        else:
            (contrast,) = compare(before, [current], dataset, batch=_batch(before, current)).candidates
            value = contrast.evaluation.metrics.value
            total = 100 * (first.metrics.value - value)
            steps.append(
                WaterfallStep(name=name, value=value, drop=contrast.drop, total=total, agreement=contrast.agreement)
            )
        before = current
    if first is None:
        raise UsageError("a waterfall needs a row that can be measured, got none. Name an artifact.")
    return Waterfall(metric=first.metrics.name, data=first.data, steps=tuple(steps))


def _batch(*models: Model) -> int:
    """Images per run: the fixed batch of a graph, else one."""
    fixed = (model.card.inputs[0].shape[0] for model in models)
    return max([1, *(count for count in fixed if isinstance(count, int))])
