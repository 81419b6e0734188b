"""TIFF files of all layouts: read as the format defines, or refused by the name of the feature."""

import numpy as np
import pytest
from helpers.image_content import HEIGHT, WIDTH, assert_as_pillow, tiff
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.errors import ImageError
from hrnet_deploy.imaging.sources import read_frame

RNG = np.random.default_rng(11)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    color=st.sampled_from([(0, 1), (1, 1), (1, 2), (2, 3), (2, 4), (5, 4)]),
    deep=st.booleans(),
    order=st.sampled_from("<>"),
    alpha=st.sampled_from([0, 1, 2]),
    planar=st.booleans(),
    orientation=st.integers(1, 8),
    tile=st.sampled_from([None, 16, 32]),
    seed=st.integers(0, 999),
)
def test_tiffs_of_all_layouts_are_read_as_the_format_says_or_refused(
    color, deep, order, alpha, planar, orientation, tile, seed
):
    photometric, channels = color
    values = np.random.default_rng(seed).integers(0, 65536 if deep else 256, (HEIGHT, WIDTH, channels))
    stored = values.astype(order + "u2" if deep else np.uint8)
    planes = [stored[..., index] for index in range(channels)] if planar else stored
    extra = [alpha] if color in {(1, 2), (2, 4)} else None
    bits = [16 if deep else 8] * channels
    content = tiff(
        planes, bits, photometric, order=order, extra=extra, planar=planar, orientation=orientation, tile=tile
    )
    refused = (photometric == 5 and deep) or (color == (1, 2) and (alpha == 1 or planar or tile))
    if refused or (photometric < 2 and deep and tile) or (color == (2, 4) and alpha == 1 and deep and planar):
        with pytest.raises(ImageError, match="must be a TIFF of a kind that is read"):
            read_frame(content)
        return
    got = read_frame(content).image.astype(int)
    levels = values / 257 if deep else values.astype(float)
    if photometric == 5:
        levels = (255 - levels[..., :3]) * (255 - levels[..., 3:]) / 255
    elif color == (2, 4):
        if alpha == 1:
            high = (values >> 8) if deep else values
            above = np.maximum(high[..., 3:], 1)
            levels = np.where(high[..., 3:] == 0, 0, np.minimum(255, 255 * high[..., :3] // above))
        levels = levels[..., :3]
    elif photometric < 2:
        levels = np.repeat(255 - levels[..., :1] if photometric == 0 else levels[..., :1], 3, 2)
    want = upright(levels, orientation)[..., ::-1]
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1.5


def upright(pixels, orientation):
    """Source: TIFF 6.0, Orientation."""
    turned = pixels.transpose(1, 0, 2) if orientation > 4 else pixels
    rows = -1 if orientation in {3, 4, 7, 8} else 1
    columns = -1 if orientation in {2, 3, 6, 7} else 1
    return turned[::rows, ::columns]


@pytest.mark.parametrize("photometric", [0, 1])
def test_bitmap_tiffs(photometric):
    assert_as_pillow(tiff(RNG.integers(0, 256, (HEIGHT, (WIDTH + 7) // 8), np.uint8), [1], photometric))


@pytest.mark.parametrize("orientation", [1, 6])
def test_tiled_palette_tiffs(orientation):
    rows = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    colors = (RNG.integers(0, 256, 768) * 257).tolist()
    assert_as_pillow(tiff(rows, [8], 3, tags={320: (3, colors)}, tile=16, orientation=orientation))


@pytest.mark.parametrize("depth", [1, 4, 8])
def test_palette_tiffs(depth):
    rows = RNG.integers(0, 256, (HEIGHT, (WIDTH * depth + 7) // 8), np.uint8)
    colors = (RNG.integers(0, 256, 3 * 2**depth) * 257).tolist()
    assert_as_pillow(tiff(rows, [depth], 3, tags={320: (3, colors)}))


@pytest.mark.parametrize(
    ("bits", "photometric", "tags", "feature"),
    [
        ([8, 8, 8], 1, {338: (3, [0, 0])}, "3 channels tagged as gray"),
        ([8, 8, 8, 8], 1, {338: (3, [0, 0, 0])}, "4 channels tagged as gray"),
        ([8, 8, 8, 8, 8], 2, {338: (3, [0, 0])}, "5 channels"),
        ([8, 8, 8], 8, {}, r"CIE L\*a\*b\* colors"),
        ([32], 1, {}, "32-bit samples"),
        ([32], 1, {339: (3, [3])}, "floating-point 32-bit samples"),
        ([16], 1, {339: (3, [2])}, "signed 16-bit samples"),
        ([12], 1, {}, "12-bit samples"),
        ([4], 1, {}, "4-bit samples"),
        ([2], 3, {320: (3, [0] * 12)}, "2-bit samples"),
        ([5, 6, 5], 2, {}, "5/6-bit samples"),
        ([8, 8, 8], 2, {259: (3, [50000])}, "Zstandard compression"),
        ([8, 8, 8], 2, {259: (3, [6])}, "old-style JPEG compression"),
        ([8], 32803, {}, "color filter array"),
        ([8], 40000, {}, "color space 40000"),
    ],
)
def test_tiffs_that_are_not_read_name_the_feature(bits, photometric, tags, feature):
    rows = np.zeros((HEIGHT, (WIDTH * sum(bits) + 7) // 8), np.uint8)
    with pytest.raises(ImageError, match=rf"image 'image_0' must be a TIFF of a kind that is read, got .*{feature}"):
        read_frame(tiff(rows, bits, photometric, tags=tags))


def test_a_tiff_cut_between_its_planes_is_refused():
    planes = [RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)] * 3
    content = tiff(planes, [8, 8, 8], 2, planar=True, tags={273: (4, [8, 10**6, 2 * 10**6])})
    with pytest.raises(ImageError, match="truncated"):
        read_frame(content)
