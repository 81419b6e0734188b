import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn import functional as F

from hrnet_deploy.processing import postprocess
from hrnet_deploy.processing.postprocess import label_map_at, ranked, softmax, upsampled_argmax


def exact_softmax(logits):
    wide = logits.astype(np.float64)
    exponents = np.exp(wide - wide.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def torch_planes(logits, size, align_corners):
    """What torch makes of the planes, in float64: (classes, H, W)."""
    wide = torch.from_numpy(logits.astype(np.float64))[None]
    return F.interpolate(wide, size=size, mode="bilinear", align_corners=align_corners)[0].numpy()


def assert_same_classes(logits, size, align_corners):
    """Equal to torch wherever the best class leads by more than float32 can blur."""
    found = upsampled_argmax(logits, size, align_corners=align_corners)
    planes = torch_planes(logits, size, align_corners)
    assert found.shape == size
    assert found.dtype == np.uint8
    chosen = np.take_along_axis(planes, found[None].astype(np.intp), axis=0)[0]
    assert (planes.max(axis=0) - chosen).max() <= 1e-4 * max(np.abs(planes).max(), 1e-6)


@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.floats(-1000, 1000, width=16),
    )
)
@settings(max_examples=100, deadline=None)
def test_softmax_equals_the_definition_in_float64(logits):
    found = softmax(logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact_softmax(logits), atol=2e-7, rtol=2e-5)


def test_softmax_of_huge_logits_still_sums_to_one_and_leaves_its_input_alone():
    logits = np.array([[3e38, -3e38, 0], [-3e38, -3e38, -3e38], [65504, 65504, -65504]], np.float32)
    before = logits.copy()
    with np.errstate(over="ignore"):
        found = softmax(logits)
    np.testing.assert_allclose(found, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]], atol=1e-6)
    np.testing.assert_array_equal(logits, before)


def test_of_equal_scores_the_lower_class_comes_first():
    order, scores = ranked(np.array([0.1, 0.4, 0.1, 0.4, 0.0], np.float32))
    assert order.tolist() == [1, 3, 0, 2, 4]
    assert scores.tolist() == pytest.approx([0.4, 0.4, 0.1, 0.1, 0.0])
    assert (order.dtype, scores.dtype) == (np.int64, np.float32)


@given(hnp.arrays(np.float32, st.integers(1, 30), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
def test_ranking_is_a_permutation_from_best_to_worst(scores):
    order, values = ranked(scores)
    assert sorted(order) == list(range(len(scores)))
    keys = [(-scores[i], i) for i in order]
    assert keys == sorted(keys)
    np.testing.assert_array_equal(values, scores[order])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("low", "size"),
    [
        ((8, 16), (32, 64)),  # HRNet's own factor of four
        ((7, 9), (27, 35)),
        ((5, 3), (16, 17)),
        ((5, 3), (13, 3)),
        ((1, 1), (9, 7)),
        ((1, 6), (5, 24)),
        ((6, 1), (24, 5)),
        ((4, 4), (1, 1)),
        ((1, 1), (1, 1)),
        ((9, 7), (9, 7)),
        ((128, 256), (513, 1023)),
    ],
)
def test_upsampling_then_argmax_gives_the_classes_that_torch_gives(low, size, align_corners):
    logits = np.random.default_rng(0).normal(0, 5, (7, *low)).astype(np.float32)
    assert_same_classes(logits, size, align_corners)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("low", "size"), [((16, 16), (8, 8)), ((17, 13), (5, 4)), ((20, 4), (7, 9)), ((64, 64), (3, 3))]
)
def test_reducing_takes_two_taps_without_antialias_as_torch_does(low, size, align_corners):
    logits = np.random.default_rng(1).normal(0, 5, (5, *low)).astype(np.float32)
    assert_same_classes(logits, size, align_corners)


side = st.integers(1, 24)


@given(st.integers(1, 5), side, side, side, side, st.booleans(), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_any_sizes_give_the_classes_that_torch_gives(classes, low_h, low_w, height, width, align_corners, seed):
    logits = np.random.default_rng(seed).normal(0, 5, (classes, low_h, low_w)).astype(np.float32)
    assert_same_classes(logits, (height, width), align_corners)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(3, 3), (12, 10)])
def test_of_equal_logits_the_lower_class_wins(size, align_corners):
    logits = np.zeros((4, 3, 3), np.float32)
    logits[1] = logits[3] = 1
    assert (upsampled_argmax(logits, size, align_corners=align_corners) == 1).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_and_strided_views_are_taken(dtype):
    logits = np.random.default_rng(2).normal(0, 5, (6, 5, 3)).astype(dtype).transpose(2, 0, 1)
    expected = upsampled_argmax(np.ascontiguousarray(logits, np.float32), (12, 10))
    np.testing.assert_array_equal(upsampled_argmax(logits, (12, 10)), expected)


def test_the_255th_class_can_win():
    logits = np.zeros((255, 2, 2), np.float32)
    logits[254] = 1
    assert (upsampled_argmax(logits, (4, 4)) == 254).all()


def test_a_label_map_of_the_right_size_is_handed_back_as_it_is():
    labels = np.zeros((3, 4), np.uint8)
    assert label_map_at(labels, (3, 4)) is labels


@given(side, side, side, side)
@settings(max_examples=150, deadline=None)
def test_a_label_map_takes_the_pixel_whose_area_holds_each_centre(low_h, low_w, height, width):
    rows, columns = np.indices((low_h, low_w), dtype=np.uint8)
    found = label_map_at(rows, (height, width)), label_map_at(columns, (height, width))
    for taken, low, size, axis in ((found[0], low_h, height, 0), (found[1], low_w, width, 1)):
        # In whole numbers: taken <= (i + 1/2) * low / size < taken + 1. On edges, versions of OpenCV differ.
        centre = ((2 * np.arange(size) + 1) * low).reshape((-1, 1) if axis == 0 else (1, -1))
        edge = taken.astype(int) * 2 * size
        assert ((edge <= centre) & (centre < edge + 2 * size)).all()


def by_whole_planes(logits, size_hw):
    """Every class plane enlarged as a whole, against a running maximum."""
    best, labels = np.full(size_hw, -np.inf, np.float32), np.zeros(size_hw, np.uint8)
    for index, plane in enumerate(logits):
        enlarged = cv2.resize(plane, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
        labels[enlarged > best] = index
        best = np.maximum(best, enlarged)
    return labels


@pytest.mark.parametrize("strip_px", [64, 1 << 10, 1 << 17])
@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", ["noise", "ties", "regions", "large"])
def test_strips_and_left_out_classes_change_no_pixel(monkeypatch, strip_px, factor, kind):
    monkeypatch.setattr(postprocess, "_STRIP_PX", strip_px)
    rng = np.random.default_rng(factor)
    logits = rng.normal(size=(19, 31, 45)).astype(np.float32)
    if kind == "ties":
        logits = np.round(logits)
    elif kind == "regions":  # few classes anywhere, as in outputs of a trained model
        logits = np.stack([cv2.resize(4 * plane[:3, :4], (45, 31)) for plane in logits])
    elif kind == "large":
        logits *= np.float32(1e6)
    size_hw = (31 * factor, 45 * factor)
    np.testing.assert_array_equal(upsampled_argmax(logits, size_hw), by_whole_planes(logits, size_hw))
