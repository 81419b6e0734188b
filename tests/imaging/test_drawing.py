import numpy as np
import pytest

from hrnet_deploy.imaging.drawing import tint, with_rows

PALETTE = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)


@pytest.mark.parametrize(("alpha", "expected"), [(0, [100, 100, 100]), (1, [0, 0, 255]), (0.5, [50, 50, 178])])
def test_tinting_blends_the_palettes_rgb_into_bgr_pixels(alpha, expected):
    image = np.full((2, 3, 3), 100, np.uint8)
    before = image.copy()
    blended = tint(image, np.zeros((2, 3), np.uint8), PALETTE, alpha)
    assert np.abs(blended.astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(image, before)


def test_pixels_with_ids_beyond_the_palette_stay_as_they_were():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    mask = np.zeros((4, 4), np.uint8)
    mask[0, :2] = [2, 255]
    blended = tint(image, mask, PALETTE, 1.0)
    np.testing.assert_array_equal(blended[0, :2], image[0, :2])
    assert (blended[1:] == [0, 0, 255]).all()


def test_a_palette_of_256_colours_reaches_the_last_id():
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    blended = tint(np.zeros((1, 1, 3), np.uint8), np.full((1, 1), 255, np.uint8), palette, 1.0)
    assert (blended == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (40, 30), (240, 320), (300, 2000)])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_panel_is_added_below_a_picture_of_any_size(size, count):
    image = np.full((*size, 3), 7, np.uint8)
    drawn = with_rows(image, [(f"class {i}", i / 5, (0, 0, 200)) for i in range(count)])
    assert drawn.dtype == np.uint8
    assert drawn.shape[1] == max(size[1], 320)
    bare = with_rows(image, [])
    assert (drawn.shape[0] > bare.shape[0]) == (count > 0)
    if size[1] >= 320:
        np.testing.assert_array_equal(drawn[: size[0]], image)


def test_a_narrow_tall_picture_does_not_explode_when_it_is_enlarged_for_the_text():
    drawn = with_rows(np.zeros((4000, 2, 3), np.uint8), [("class", 0.5, (0, 0, 200))])
    assert drawn.shape[1] == 320
    assert drawn.shape[0] < 3 * 4000


def test_a_larger_share_draws_a_longer_bar_and_shares_out_of_range_stay_inside():
    def ink(share):
        panel = with_rows(np.zeros((1, 900, 3), np.uint8), [("", share, (250, 250, 250))])[1:]
        return int((panel == (196, 132, 50)).all(axis=2).sum())

    assert 0 < ink(0.1) < ink(0.5) < ink(1.0)
    assert ink(7.0) == ink(1.0)
    assert ink(-1.0) == ink(0.0)


@pytest.mark.parametrize("name", ["", "犬のクラス", "Käse", "x" * 500, "." * 500, "a\nb", "🐈"])
def test_any_class_name_can_be_drawn_and_stays_left_of_its_bar(name):
    plain = with_rows(np.zeros((10, 640, 3), np.uint8), [("", 0.5, (0, 0, 0))])
    drawn = with_rows(np.zeros((10, 640, 3), np.uint8), [(name, 0.5, (0, 0, 0))])
    np.testing.assert_array_equal(drawn[:, 320:], plain[:, 320:])
    assert drawn.shape == plain.shape
