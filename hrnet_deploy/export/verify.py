"""Comparison of a graph with its original, and of an engine with its graph."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from hrnet_deploy.engines.difference import NO_DIFFERENCE, Difference, compare, cosines
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import VerificationError
from hrnet_deploy.imaging.drawing import Image
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.processing.model_io import network_input
from hrnet_deploy.processing.postprocess import best_classes, softmax, upsampled_argmax
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.processing.two_classes import cut_of, two_scores
from hrnet_deploy.protocols import Engine, Tensors
from hrnet_deploy.spec import ModelCard, OutputKind, Precision, Preprocessing, Resize, ShapeRange, TensorSpec

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """Accepted differences by precision, and the words of the error.

    Attributes:
        logits: largest |difference|, in units of the spread of the logits.
        scores: largest |difference| of probabilities.
        labels: smallest share of equal pixels of a label map.
        features: smallest cosine similarity of a feature.
    """

    logits: Mapping[Precision, float]
    scores: Mapping[Precision, float]
    labels: Mapping[Precision, float]
    features: Mapping[Precision, float]
    demand: str
    advice: str

    def check(self, worst: Difference, card: ModelCard) -> None:
        """Refuse a difference beyond the tolerance, or one that is not finite."""
        precision, kind = card.precision, card.output_kind
        if kind is OutputKind.LABELS:
            found, limit, what = worst.agreement, self.labels[precision], "share of equal pixels"
        elif kind is OutputKind.LOGITS:
            found, limit, what = worst.max_rel, self.logits[precision], "max |difference| / spread of the logits"
        else:
            found, limit, what = worst.max_abs, self.scores[precision], "max |difference| of the scores"
        if not (found >= limit if kind is OutputKind.LABELS else found <= limit):
            raise VerificationError(
                f"{precision.value} {self.demand}, got {what} {found:.3g} (limit {limit:g}). {self.advice}"
            )

    def check_feature(self, name: str, cosine: float, precision: Precision) -> None:
        """Refuse a cosine similarity below the tolerance, or one that is no number."""
        limit = self.features[precision]
        if not cosine >= limit:
            raise VerificationError(
                f"{precision.value} {self.demand}, got cosine similarity {cosine:.6g} of {name} (limit {limit:g}). "
                f"{self.advice}"
            )


TOLERANCES = Tolerances(
    # Measured over all variants (benchmarks/results/cpu.md): FP32 at most 4e-6, FP16 at most 4e-3. Trained models whose
    # logits have a small spread need more room. An INT8 file is compared with the INT8 graph it was written from: with
    # another batch a float kernel may round differently, and a value between two codes then takes the other one.
    logits={Precision.FP32: 1e-3, Precision.FP16: 5e-2, Precision.INT8: 5e-2},
    scores={Precision.FP32: 1e-3, Precision.FP16: 2e-2, Precision.INT8: 2e-2},
    labels={Precision.FP32: 0.999, Precision.FP16: 0.99, Precision.INT8: 0.99},
    features={Precision.FP32: 0.99999, Precision.FP16: 0.999, Precision.INT8: 0.999},
    demand="artifact must agree with its original",
    advice="Nothing was written; try fp32 or --no-simplify, or check the weights.",
)
_ENGINE_TOLERANCES = Tolerances(
    # TF32 has 10 bits, and INT8 rounds elsewhere than on a CPU.
    logits={Precision.FP32: 2e-2, Precision.FP16: 5e-2, Precision.INT8: 0.5},
    scores={Precision.FP32: 1e-2, Precision.FP16: 2e-2, Precision.INT8: 0.2},
    labels={Precision.FP32: 0.998, Precision.FP16: 0.99, Precision.INT8: 0.95},
    features={Precision.FP32: 0.9999, Precision.FP16: 0.999, Precision.INT8: 0.95},
    demand="engine must agree with ONNX Runtime",
    advice="Nothing was written; try another precision, or --no-tf32.",
)
_DISTINCT_IMAGES = 4
_LARGE_PX = 512 * 512
_OPEN_SIZES = ((256, 320), (128, 192))


@dataclass(frozen=True)
class ReferenceBatch:
    """Images of one size, BGR uint8 (H, W, 3), their network inputs, and the original's outputs of that kind.

    Attributes:
        outputs: scores, or one of the features of a model without a head.
        features: by name.
    """

    images: list[Image]
    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]
    kind: OutputKind = OutputKind.LOGITS
    features: Mapping[str, NDArray[np.float32]] = dataclasses.field(default_factory=dict)


def make_reference_batches(
    preprocessing: Preprocessing,
    shapes: ShapeRange,
    reference: Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]],
    kind: OutputKind = OutputKind.LOGITS,
    features: Sequence[str] = (),
) -> list[ReferenceBatch]:
    """Run the original on synthetic images that cover the artifact's batch, and on two sizes where the size is open."""
    count = shapes.opt_nhw[0]
    if shapes.dynamic_batch:
        count = max(shapes.min_nhw[0], min(shapes.max_nhw[0], 2))
    sizes = {shapes.opt_nhw[1:]}
    if shapes.dynamic_hw:
        (_, *low), (_, *high) = shapes.min_nhw, shapes.max_nhw
        sizes = {(min(max(h, low[0]), high[0]), min(max(w, low[1]), high[1])) for h, w in _OPEN_SIZES}
    batches = []
    for height, width in sorted(sizes):
        distinct = 1 if height * width > _LARGE_PX else min(count, _DISTINCT_IMAGES)
        images = synthetic_images(distinct, (height, width), preprocessing.channel_order.channels)
        preprocess = Preprocessor(_at(preprocessing, (height, width)))
        inputs = np.stack([preprocess(image) for image in images])
        found = reference(inputs)
        by_name = {name: found[name] for name in features}
        batches.append(ReferenceBatch(images, inputs, next(iter(found.values())), kind, by_name))
    return batches


def pad_batch(batch: NDArray[_Scalar], entry: TensorSpec, smallest: int = 1) -> NDArray[_Scalar]:
    """Repeat a batch's rows up to the batch size of a graph; `smallest` is that of a dynamic batch."""
    count = entry.shape[0]
    if isinstance(count, str):
        count = max(smallest, len(batch))
    if count == len(batch):
        return batch
    repeated: NDArray[_Scalar] = batch[np.arange(count) % len(batch)]
    return repeated


def run_on_cpu(
    content: bytes, batches: Iterable[NDArray[np.float32]], *, in_order: bool = False
) -> Iterator[tuple[NDArray[np.float32], Tensors]]:
    """Run a serialized graph with one input; each batch with its outputs by name, padded if the batch is fixed."""
    engine = open_engine(content, device="cpu", backend="onnxruntime", in_order=in_order)
    del content  # the weights of a large model
    entry = engine.inputs[0]
    for batch in batches:
        yield batch, engine.run({entry.name: pad_batch(batch, entry)})
    engine.close()


def verify(engine: Engine, card: ModelCard, batches: Sequence[ReferenceBatch]) -> tuple[Difference, dict[str, float]]:
    """Compare a graph's outputs with those of the original; refuse a difference beyond the precision's tolerance.

    Returns the worst difference of the scores, and by name the lowest cosine similarity of a feature.
    """
    worst, entry = NO_DIFFERENCE, card.inputs[0]
    lowest = {spec.name: 1.0 for spec in card.features}
    for batch in batches:
        wanted, feed = _expected(batch, card), batch.inputs
        if card.pixels_in:
            preprocess = Preprocessor(_at(card.preprocessing, (feed.shape[2], feed.shape[3])))
            feed = np.stack([preprocess.pixels(image) for image in batch.images])
        # A dynamic batch must work for one image and for several; a fixed one is padded.
        feeds = [pad_batch(feed, entry)] if isinstance(entry.shape[0], int) else [feed, feed[:1]]
        for inputs in feeds:
            found = engine.run({entry.name: inputs})
            count = min(len(inputs), len(batch.outputs))
            for name, least in lowest.items():
                lowest[name] = min(least, *cosines(found[name][:count], batch.features[name][:count]))
            ours = found[score_output(card)][:count]
            worst = worst.worst(compare(ours, wanted[:count], cut_of(card.threshold, card.output_kind)))
    if card.headless:
        worst = dataclasses.replace(worst, agreement=min(lowest.values()))
    else:
        TOLERANCES.check(worst, card)
    for name, cosine in lowest.items():
        TOLERANCES.check_feature(name, cosine, card.precision)
    return worst, lowest


def score_output(card: ModelCard) -> str:
    """Return the name of the output that is compared: the scores, or the first feature of a model without a head."""
    return card.outputs[1 if card.output_kind is OutputKind.TOPK else 0].name


def measure_parity(
    reference: Path, engine: Path, card: ModelCard, images: Sequence[os.PathLike[str]], device: str
) -> Difference:
    """Compare an engine on this machine's GPU with its .onnx file on the CPU, on some of the user's images if any."""
    size = card.preprocessing.size_hw
    height, width = size or card.shapes.opt_nhw[1:]
    # With open sizes the user's images may be beyond the profile.
    if images and size is not None:
        frames = [read_frame(os.fspath(image)).image for image in images[:_DISTINCT_IMAGES]]
    else:
        count = _DISTINCT_IMAGES if height * width <= _LARGE_PX else 1
        frames = synthetic_images(count, (height, width), card.preprocessing.channel_order.channels)
    preprocess = Preprocessor(card.preprocessing)
    theirs, ours = open_engine(reference, device="cpu", backend="onnxruntime"), open_engine(engine, device=device)
    name, cut = score_output(card), cut_of(card.threshold, card.output_kind)
    worst, lowest = NO_DIFFERENCE, {spec.name: 1.0 for spec in card.features}
    try:
        for frame in frames:
            tensor = network_input(card, preprocess, frame)
            feed = {card.inputs[0].name: pad_batch(tensor[None], card.inputs[0], card.shapes.min_nhw[0])}
            found, wanted = ours.run(feed), theirs.run(feed)
            worst = worst.worst(compare(found[name][:1], wanted[name][:1], cut))
            for one, least in lowest.items():
                lowest[one] = min(least, *cosines(found[one][:1], wanted[one][:1]))
    finally:
        theirs.close()
        ours.close()
    if card.headless:
        worst = dataclasses.replace(worst, agreement=min(lowest.values()))
    else:
        _ENGINE_TOLERANCES.check(worst, card)
    for one, cosine in lowest.items():
        _ENGINE_TOLERANCES.check_feature(one, cosine, card.precision)
    return worst


def check_graph(model: onnx.ModelProto, batches: Sequence[ReferenceBatch]) -> None:
    """Refuse a float32 graph whose outputs differ from those of its original."""
    for batch, found in zip(batches, with_outputs_of(model, batches), strict=True):
        difference = compare(found.outputs, batch.outputs)
        if not difference.max_rel <= TOLERANCES.logits[Precision.FP32]:
            raise VerificationError(
                f"fp32 graph must agree with its original before it is quantized, got {difference.max_rel:.3g} of the "
                "spread of the logits. Nothing was written; check the weights."
            )


def with_outputs_of(model: onnx.ModelProto, batches: Sequence[ReferenceBatch]) -> list[ReferenceBatch]:
    """Replace the outputs of batches by those of another graph with one float input."""
    runs = run_on_cpu(model.SerializeToString(), [batch.inputs for batch in batches])
    replaced = []
    for batch, (inputs, found) in zip(batches, runs, strict=True):
        rows = {name: array[: len(inputs)].astype(np.float32) for name, array in found.items()}
        features = {name: rows[name] for name in batch.features if name in rows}
        replaced.append(dataclasses.replace(batch, outputs=next(iter(rows.values())), features=features))
    return replaced


def _expected(batch: ReferenceBatch, card: ModelCard) -> NDArray[np.generic]:
    """Convert the original's outputs to the artifact's kind of output."""
    if card.output_kind is OutputKind.LABELS:
        size = (batch.inputs.shape[2], batch.inputs.shape[3])
        planes = two_scores(batch.outputs, cut_of(card.threshold, batch.kind), axis=1)
        return np.stack([upsampled_argmax(r, size, align_corners=card.align_corners) for r in planes])
    if card.output_kind is OutputKind.TOPK:
        k = int(card.outputs[0].shape[1])
        return np.stack([best_classes(row, batch.kind, card.threshold)[1][:k] for row in batch.outputs])
    if card.output_kind is OutputKind.PROBABILITIES and card.outputs[0].name == "probabilities":
        # A softmax of [0, logit] equals the sigmoid of the logit.
        return softmax(two_scores(batch.outputs, None if card.threshold is None else 0.0, axis=1))
    return batch.outputs


def _at(preprocessing: Preprocessing, size_hw: tuple[int, int]) -> Preprocessing:
    """Preprocess images that have the network's size already: only colors change."""
    return dataclasses.replace(preprocessing, resize=Resize.SQUASH, size_hw=size_hw)
