"""Is the artefact still the net? Pictures through the original and through the written file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.difference import NO_DIFFERENCE, Difference, compare
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import VerificationError
from hrnet_deploy.export.filling import filled
from hrnet_deploy.export.tolerances import Limits
from hrnet_deploy.imaging.drawing import Image
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.processing.postprocess import best_classes, softmax, upsampled_argmax
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.processing.two_classes import cut_of, two_scores
from hrnet_deploy.spec import ModelCard, OutputKind, Precision, Preprocessing, Resize, ShapeRange

if TYPE_CHECKING:
    import onnx

TOLERANCE = {Precision.FP32: 1e-3, Precision.FP16: 5e-2, Precision.INT8: 5e-2}
"""Largest |difference| of logits, in units of their spread.

Measured over all variants (benchmarks/results/cpu.md): fp32 at most 4e-6, fp16 at most 4e-3; trained nets whose logits
have a small spread need more room. An INT8 file is compared with the INT8 graph it was written from; with another
batch a float kernel may round another way, and a value between two codes then takes the other one.
"""
_LIMITS = Limits(
    logits=TOLERANCE,
    scores={Precision.FP32: 1e-3, Precision.FP16: 2e-2, Precision.INT8: 2e-2},
    labels={Precision.FP32: 0.999, Precision.FP16: 0.99, Precision.INT8: 0.99},
    demand="artefact must agree with its original",
    advice="Nothing was written; try fp32 or --no-simplify, or check the weights.",
)
_LARGE_PX = 512 * 512
_OPEN_SIZES = ((256, 320), (128, 192))


@dataclass(frozen=True)
class ReferenceBatch:
    """Pictures of one size, ready for the net, and the original's answer to them.

    Attributes:
        images: BGR uint8 (H, W, 3), of the network's size.
        batch: network input, float32 (N, 3, H, W).
        reference: the original's output, float32 (N, classes, ...).
        kind: what that holds.
    """

    images: list[Image]
    batch: NDArray[np.float32]
    reference: NDArray[np.float32]
    kind: OutputKind = OutputKind.LOGITS


def make_reference_batches(
    preprocessing: Preprocessing,
    shapes: ShapeRange,
    reference: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    kind: OutputKind = OutputKind.LOGITS,
) -> list[ReferenceBatch]:
    """Pictures that exercise what an artefact claims: its batch, and two sizes where the size is open.

    Args:
        preprocessing: of the artefact.
        shapes: of the artefact.
        reference: the original, float32 (N, 3, H, W) -> float32.
        kind: what it answers with.

    Returns:
        One probe a size; one picture where it is large, else at least two.
    """
    count = shapes.opt_nhw[0]
    if shapes.dynamic_batch:
        count = max(shapes.min_nhw[0], min(shapes.max_nhw[0], 2))
    sizes = {_within(size, shapes) for size in _OPEN_SIZES} if shapes.dynamic_hw else {shapes.opt_nhw[1:]}
    probes = []
    for height, width in sorted(sizes):
        distinct = 1 if height * width > _LARGE_PX else min(count, 4)
        images = synthetic_images(distinct, (height, width))
        preprocess = Preprocessor(_at(preprocessing, (height, width)))
        batch = np.stack([preprocess(image) for image in images])
        probes.append(ReferenceBatch(images, batch, reference(batch), kind))
    return probes


def verify(path: Path, card: ModelCard, probes: list[ReferenceBatch]) -> Difference:
    """Run the written file and compare it with the original.

    Args:
        path: the artefact.
        card: what it claims.
        probes: from `make_probes`.

    Returns:
        The worst difference over all probes.

    Raises:
        VerificationError: beyond the precision's tolerance.
    """
    engine = open_engine(path, device="cpu", backend="onnxruntime")
    worst = NO_DIFFERENCE
    for probe in probes:
        wanted = _answer(probe, card)
        fixed = card.inputs[0].shape[0]
        feed = _feed(probe, card)
        # A dynamic batch must work for one picture and for several; a fixed one is filled up.
        feeds = [filled(feed, card.inputs[0])] if isinstance(fixed, int) else [feed, feed[:1]]
        for batch in feeds:
            found = engine.run({card.inputs[0].name: batch})
            count = min(len(batch), len(wanted))
            ours = found[card.outputs[-1 if card.output_kind is OutputKind.TOPK else 0].name][:count]
            difference = compare(ours, wanted[:count], cut_of(card.threshold, card.output_kind))
            worst = worst.worst(difference)
    engine.close()
    _LIMITS.check(worst, card)
    return worst


def check_graph(model: onnx.ModelProto, probes: list[ReferenceBatch]) -> None:
    """Refuse a float32 graph that is not the net it was made from.

    Args:
        model: answers with what the probes hold.
        probes: from `make_probes`.

    Raises:
        VerificationError: beyond float32's tolerance.
    """
    for probe, found in zip(probes, answered_by(model, probes), strict=True):
        difference = compare(found.reference, probe.reference)
        if not difference.max_rel <= TOLERANCE[Precision.FP32]:
            raise VerificationError(
                f"fp32 graph must agree with its original before it is quantised, got {difference.max_rel:.3g} of the "
                "spread of the logits. Nothing was written; check the weights."
            )


def answered_by(model: onnx.ModelProto, probes: list[ReferenceBatch]) -> list[ReferenceBatch]:
    """The same pictures with another graph's answers.

    Args:
        model: with one float input.
        probes: from `make_probes`.

    Returns:
        New probes.
    """
    engine = open_engine(model.SerializeToString(), device="cpu", backend="onnxruntime")
    spec, output = engine.inputs[0], engine.outputs[0].name
    answers = [engine.run({spec.name: filled(probe.batch, spec)})[output][: len(probe.batch)] for probe in probes]
    engine.close()
    return [
        dataclasses.replace(probe, reference=answer.astype(np.float32))
        for probe, answer in zip(probes, answers, strict=True)
    ]


def _answer(probe: ReferenceBatch, card: ModelCard) -> NDArray[np.generic]:
    """The original's output as the artefact should give it."""
    if card.output_kind is OutputKind.LABELS:
        size = (probe.batch.shape[2], probe.batch.shape[3])
        planes = two_scores(probe.reference, cut_of(card.threshold, probe.kind), axis=1)
        return np.stack([upsampled_argmax(r, size, align_corners=card.align_corners) for r in planes])
    if card.output_kind is OutputKind.TOPK:
        k = int(card.outputs[0].shape[1])
        return np.stack([best_classes(row, probe.kind, card.threshold)[1][:k] for row in probe.reference])
    if card.output_kind is OutputKind.PROBABILITIES and card.outputs[0].name == "probabilities":
        # As [0, logit], a softmax gives what a sigmoid does.
        return softmax(two_scores(probe.reference, None if card.threshold is None else 0.0, axis=1))
    return probe.reference


def _feed(probe: ReferenceBatch, card: ModelCard) -> NDArray[np.generic]:
    if not card.pixels_in:
        return probe.batch
    size = (probe.batch.shape[2], probe.batch.shape[3])
    preprocess = Preprocessor(_at(card.preprocessing, size))
    return np.stack([preprocess.pixels(image) for image in probe.images])


def _at(preprocessing: Preprocessing, size_hw: tuple[int, int]) -> Preprocessing:
    """The same for pictures that have the network's size already: only colour is left to do."""
    return dataclasses.replace(preprocessing, resize=Resize.SQUASH, size_hw=size_hw)


def _within(size_hw: tuple[int, int], shapes: ShapeRange) -> tuple[int, int]:
    low, high = shapes.min_nhw[1:], shapes.max_nhw[1:]
    return (min(max(size_hw[0], low[0]), high[0]), min(max(size_hw[1], low[1]), high[1]))
