"""SlidingWindow windows against mmseg's loop in torch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.sliding_window import SlidingWindow, blended_argmax, pad_image
from hrnet_deploy.processing.postprocess import upsampled_argmax


@pytest.mark.parametrize(
    ("size", "window", "overlap", "corners"),
    [
        ((8, 8), (8, 8), 0, [(0, 0)]),
        ((8, 16), (8, 8), 0, [(0, 0), (0, 8)]),
        ((8, 16), (8, 8), 0.5, [(0, 0), (0, 4), (0, 8)]),
        ((8, 17), (8, 8), 0.5, [(0, 0), (0, 4), (0, 8), (0, 9)]),
        ((10, 8), (8, 8), 0, [(0, 0), (2, 0)]),
    ],
)
def test_corners(size, window, overlap, corners):
    assert SlidingWindow.with_overlap(window, overlap).corners(size) == corners


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.floats(0, 0.99),
)
def test_windows_cover_every_pixel_and_stay_inside(size, window, overlap):
    sliding = SlidingWindow.with_overlap(window, overlap)
    height, width = sliding.padded_hw(size)
    seen = np.zeros((height, width), np.int64)
    for top, left in sliding.corners((height, width)):
        assert 0 <= top <= height - window[0]
        assert 0 <= left <= width - window[1]
        seen[top : top + window[0], left : left + window[1]] += 1
    assert seen.min() >= 1


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(40, 72), (33, 50), (20, 30)])
def test_blending_equals_mmseg(size, align_corners):
    torch = pytest.importorskip("torch", reason="the reference loop is in torch")
    window, sliding = (32, 32), SlidingWindow((32, 32), (20, 20))
    full = sliding.padded_hw(size)
    corners = sliding.corners(full)
    logits = np.random.default_rng(4).standard_normal((len(corners), 5, 8, 8)).astype(np.float32)
    total, count = torch.zeros((5, *full)), torch.zeros((1, *full))
    for values, (top, left) in zip(logits, corners, strict=True):
        large = torch.nn.functional.interpolate(
            torch.from_numpy(values)[None], size=window, mode="bilinear", align_corners=align_corners
        )[0]
        total[:, top : top + 32, left : left + 32] += large
        count[:, top : top + 32, left : left + 32] += 1
    mean = (total / count)[:, : size[0], : size[1]].numpy()
    found = blended_argmax(logits, corners, window, size, align_corners=align_corners)
    gap = np.sort(mean, axis=0)[-1] - np.sort(mean, axis=0)[-2]
    assert found.shape == size
    assert (found == mean.argmax(axis=0))[gap > 1e-5].all()
    assert (gap > 1e-5).mean() > 0.99


@pytest.mark.parametrize("align_corners", [False, True])
def test_one_window_is_the_whole_picture(align_corners):
    logits = np.random.default_rng(5).standard_normal((3, 8, 10)).astype(np.float32)
    whole = upsampled_argmax(logits, (32, 40), align_corners=align_corners)
    found = blended_argmax([logits], [(0, 0)], (32, 40), (32, 40), align_corners=align_corners)
    assert (found == whole).mean() > 0.999


def test_padding_is_black_and_only_where_needed(picture):
    assert pad_image(picture, picture.shape[:2]) is picture
    larger = pad_image(picture, (picture.shape[0] + 3, picture.shape[1] + 5))
    assert (larger[: -3 or None, :-5] == picture).all()
    assert not larger[-3:].any()
    assert not larger[:, -5:].any()


@pytest.mark.parametrize("overlap", [-0.1, 1, 2])
def test_bad_overlap(overlap):
    with pytest.raises(UsageError, match=r"overlap must be from 0 to below 1"):
        SlidingWindow.with_overlap((8, 8), overlap)


def test_bad_stride():
    with pytest.raises(UsageError, match=r"stride must be 1\.\.8, got 9"):
        SlidingWindow((8, 8), (8, 9))
