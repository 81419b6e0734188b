"""The input and the decoded output of one image, for every kind of output that a card may describe."""

import dataclasses

import numpy as np
import pytest

from hrnet_deploy.processing.model_io import decode_classes, decode_mask, network_input
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import ModelCard, OutputKind, Precision, Preprocessing, Resize, ShapeRange, Task, TensorSpec

CARD = ModelCard(
    task=Task.CLASSIFICATION,
    variant="model",
    classes=("a", "b", "c"),
    preprocessing=Preprocessing(resize=Resize.SQUASH, size_hw=(4, 6)),
    precision=Precision.FP32,
    inputs=(TensorSpec("input", "float32", (1, 3, 4, 6)),),
    outputs=(TensorSpec("output", "float32", (1, 3)),),
    shapes=ShapeRange((1, 4, 6), (1, 4, 6), (1, 4, 6)),
)


@pytest.mark.parametrize(("pixels_in", "shape", "dtype"), [(False, (3, 4, 6), np.float32), (True, (4, 6, 3), np.uint8)])
def test_the_card_decides_between_planes_and_pixels(pixels_in, shape, dtype):
    card = dataclasses.replace(CARD, pixels_in=pixels_in)
    row = network_input(card, Preprocessor(card.preprocessing), np.zeros((9, 9, 3), np.uint8))
    assert (row.shape, row.dtype) == (shape, dtype)


def test_logits_become_probabilities_in_order():
    indices, scores = decode_classes(CARD, [np.log(np.array([0.2, 0.5, 0.3], np.float32))])
    assert indices.tolist() == [1, 2, 0]
    assert scores == pytest.approx([0.5, 0.3, 0.2])


def test_a_top_k_is_the_output_itself():
    card = dataclasses.replace(CARD, output_kind=OutputKind.TOPK)
    rows = [np.array([2, 0], np.int64), np.array([0.7, 0.2], np.float32)]
    assert [found is row for found, row in zip(decode_classes(card, rows), rows, strict=True)] == [True, True]


@pytest.mark.parametrize("kind", [OutputKind.LABELS, OutputKind.LOGITS])
def test_a_mask_has_the_wanted_size(kind):
    card = dataclasses.replace(CARD, task=Task.SEGMENTATION, output_kind=kind)
    labels = np.array([[0, 1], [2, 1]], np.uint8)
    output = labels if kind is OutputKind.LABELS else np.moveaxis(np.eye(3, dtype=np.float32)[labels], -1, 0)
    assert decode_mask(card, output, (2, 2)).tolist() == labels.tolist()
    mask = decode_mask(card, output, (8, 12))
    assert (mask.shape, mask.dtype) == ((8, 12), np.uint8)
    assert mask[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0, 1, 2, 1]


def test_one_channel_is_cut_at_its_threshold():
    card = dataclasses.replace(CARD, task=Task.SEGMENTATION, classes=("no", "yes"), threshold=0.9)
    logits = np.array([[[2.0, 2.5]]], np.float32)  # the logit of 0.9 is 2.197
    assert decode_mask(card, logits, (1, 2)).tolist() == [[0, 1]]
