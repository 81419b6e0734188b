"""Comparison of an engine with ONNX Runtime on the same images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hrnet_deploy.engines.difference import NO_DIFFERENCE, Difference, compare
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.export.verify import Tolerances, pad_batch
from hrnet_deploy.imaging.drawing import Image
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.processing.model_io import network_input
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.processing.two_classes import cut_of
from hrnet_deploy.spec import ModelCard, OutputKind, Precision

_TOLERANCES = Tolerances(
    # TF32 has 10 bits, and INT8 rounds elsewhere than on a CPU.
    logits={Precision.FP32: 2e-2, Precision.FP16: 5e-2, Precision.INT8: 0.5},
    scores={Precision.FP32: 1e-2, Precision.FP16: 2e-2, Precision.INT8: 0.2},
    labels={Precision.FP32: 0.998, Precision.FP16: 0.99, Precision.INT8: 0.95},
    demand="engine must agree with ONNX Runtime",
    advice="Nothing was written; try another precision, or --no-tf32.",
)
_COUNT = 4
_LARGE_PX = 512 * 512


def parity_images(card: ModelCard, images: Sequence[os.PathLike[str]]) -> list[Image]:
    """Read some of the user's images, or create synthetic ones."""
    size = card.preprocessing.size_hw
    # With open sizes the user's images may be beyond the profile.
    if images and size is not None:
        return [read_frame(os.fspath(image)).image for image in images[:_COUNT]]
    height, width = size or card.shapes.opt_nhw[1:]
    return synthetic_images(_COUNT if height * width <= _LARGE_PX else 1, (height, width))


def measure_parity(reference: Path, engine: Path, card: ModelCard, images: Sequence[Image], device: str) -> Difference:
    """Compare the outputs of an engine with those of the graph it was built from."""
    preprocess = Preprocessor(card.preprocessing)
    theirs, ours = open_engine(reference, device="cpu", backend="onnxruntime"), open_engine(engine, device=device)
    name = card.outputs[-1 if card.output_kind is OutputKind.TOPK else 0].name
    cut = cut_of(card.threshold, card.output_kind)
    worst = NO_DIFFERENCE
    try:
        for image in images:
            tensor = network_input(card, preprocess, image)
            feed = {card.inputs[0].name: pad_batch(tensor[None], card.inputs[0], card.shapes.min_nhw[0])}
            worst = worst.worst(compare(ours.run(feed)[name][:1], theirs.run(feed)[name][:1], cut))
    finally:
        theirs.close()
        ours.close()
    _TOLERANCES.check(worst, card)
    return worst
