"""The input and output of a model for one image, as its card describes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.processing.postprocess import best_classes, label_map_at, upsampled_argmax
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.processing.two_classes import cut_of, two_scores
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


def decode_classes(card: ModelCard, outputs: Sequence[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Decode a classifier's outputs for one image.

    Args:
        card: the model's card.
        outputs: one row of each graph output.

    Returns:
        Class indices, int64 (k,), and their probabilities, float32 (k,), best first.
    """
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
    if card.output_kind is OutputKind.LABELS:
        return label_map_at(output, size_hw)
    planes = two_scores(output, cut_of(card.threshold, card.output_kind))
    return upsampled_argmax(planes, size_hw, align_corners=card.align_corners)
