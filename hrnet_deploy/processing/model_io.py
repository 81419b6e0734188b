"""The input and output of a model for one image, as its card describes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ArtifactError
from hrnet_deploy.processing.postprocess import best_classes, label_map_at, upsampled_argmax
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.processing.two_classes import cut_of, two_scores
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import ModelCard, OutputKind


def network_input(card: ModelCard, preprocessor: Preprocessor, image: NDArray[np.uint8]) -> NDArray[Any]:
    """Convert an image to the model's input.

    Args:
        card: the model's card.
        preprocessor: created from the card's preprocessing.
        image: BGR uint8 (H, W, 3).

    Returns:
        float32 (3, h, w), or uint8 (h, w, 3) for a graph that normalizes.

    Raises:
        ImageError: its size cannot be used.
    """
    return preprocessor.pixels(image) if card.pixels_in else preprocessor(image)


def output_rows(card: ModelCard, outputs: Tensors, index: int) -> list[NDArray[Any]]:
    """Return the row of each output for one image of a batch.

    Args:
        card: the model's card.
        outputs: the outputs of a batch.
        index: number of the image in the batch.

    Returns:
        One row of each output that the card names.

    Raises:
        ArtifactError: an output has fewer rows than the batch has images.
    """
    rows = []
    for spec in card.outputs:
        array = outputs[spec.name]
        if not array.ndim or index >= len(array):
            raise ArtifactError(
                f"model must compute a row for each image, got {array.shape} for image {index + 1}. Use batch=1."
            )
        rows.append(array[index])
    return rows


def decode_classes(card: ModelCard, outputs: Sequence[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Decode a classifier's outputs for one image.

    Args:
        card: the model's card.
        outputs: one row of each graph output.

    Returns:
        Class indices, int64 (k,), and their probabilities, float32 (k,), best first.
    """
    _check_row(card, outputs)
    if card.output_kind is OutputKind.TOPK:
        return outputs[0].astype(np.int64, copy=False), outputs[1].astype(np.float32, copy=False)
    return best_classes(outputs[0], card.output_kind, card.threshold)


def decode_mask(card: ModelCard, output: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode a segmentation model's output for one image: logits are upsampled bilinearly, then the best class wins.

    Args:
        card: the model's card.
        output: one row of the graph's output, (classes, h, w), or uint8 (h, w) for a graph that returns labels.
        size_hw: (height, width) of the mask.

    Returns:
        uint8 (height, width), class indices; it may share memory with a label map of the same size.
    """
    _check_row(card, [output])
    if card.output_kind is OutputKind.LABELS:
        return label_map_at(output, size_hw)
    planes = two_scores(output, cut_of(card.threshold, card.output_kind))
    return upsampled_argmax(planes, size_hw, align_corners=card.align_corners)


def _check_row(card: ModelCard, outputs: Sequence[NDArray[Any]]) -> None:
    """Refuse outputs of other classes than the card's, which a graph of open sizes can have."""
    first, count = outputs[0], len(card.classes)
    if card.output_kind in {OutputKind.TOPK, OutputKind.LABELS}:
        fits = not first.size or bool(first.max() < count and first.min() >= 0)
        got = "others"
    else:
        fits = first.ndim > 0 and card.has_channels(first.shape[0])
        got = f"an output of {first.shape}"
    if not fits:
        raise ArtifactError(f"model must compute the {count} classes of its card, got {got}. Export it again.")
