"""One net: batches, windows and what it refuses."""

import numpy as np
import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.model_runner import ModelRunner
from hrnet_deploy.evaluation.sliding_window import SlidingWindow
from hrnet_deploy.spec import OutputKind, Task


def grey(height, width, seed=0, classes=4):
    plane = np.random.default_rng(seed).integers(0, classes, (height, width), np.uint8)
    return np.repeat(plane[..., None], 3, axis=2)


def test_rows_of_one_size_share_a_batch(colour_net):
    net = colour_net()
    network = ModelRunner(net)
    pictures = [grey(4, 4), grey(4, 4), grey(4, 4), grey(6, 4), grey(4, 4)]
    rows = [network.prepare(picture) for picture in pictures]
    outputs = network.run(rows, batch=2)
    assert net.batches == [2, 1, 1, 1]
    for picture, row, output in zip(pictures, rows, outputs, strict=True):
        assert (network.mask(output, row, picture.shape[:2]) == picture[..., 0]).all()


def test_a_fixed_batch_is_filled(colour_net):
    net = colour_net(batch=3)
    network = ModelRunner(net)
    outputs = network.run([network.prepare(grey(4, 4, seed)) for seed in range(4)], batch=1)
    assert net.batches == [3, 3]
    assert [len(rows) for rows in outputs] == [1, 1, 1, 1]


@pytest.mark.parametrize("size", [(8, 8), (8, 20), (19, 13), (5, 30), (3, 3)])
def test_windows_of_any_picture_give_the_whole(colour_net, size):
    picture = grey(*size)
    net = colour_net(size_hw=(8, 8))
    network = ModelRunner(net, SlidingWindow.with_overlap((8, 8), 0.5))
    rows = network.prepare(picture)
    (outputs,) = network.run([rows], batch=4)
    assert len(outputs) == len(rows.corners)
    assert (network.mask(outputs, rows, size) == picture[..., 0]).all()
    assert (network.segment(picture) == picture[..., 0]).all()


@pytest.mark.parametrize(
    ("net", "window", "message"),
    [
        ({"task": Task.CLASSIFICATION}, (8, 8), "sliding windows are for segmentation"),
        ({"kind": OutputKind.LABELS}, (8, 8), "sliding windows need the model's logits"),
        ({"size_hw": (8, 16)}, (8, 8), "window must have the graph's size 8x16 .height x width., got 8x8"),
    ],
)
def test_windows_that_do_not_suit(colour_net, net, window, message):
    with pytest.raises(UsageError, match=message):
        ModelRunner(colour_net(**net), SlidingWindow.with_overlap(window))
