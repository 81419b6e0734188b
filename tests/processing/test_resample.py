import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hrnet_deploy.errors import ImageError
from hrnet_deploy.processing.resample import resize_into
from hrnet_deploy.processing.resample_filters import axis
from hrnet_deploy.spec import Interpolation

PILLOW = {Interpolation.BILINEAR: Image.Resampling.BILINEAR, Interpolation.BICUBIC: Image.Resampling.BICUBIC}
SIDES = st.integers(1, 160)


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def resize(image, size_hw, interpolation=Interpolation.BILINEAR, crop=None):
    """The whole result or a crop, as `PIL.Image.resize(...).crop(...)` gives it."""
    top, left, height, width = crop or (0, 0, *size_hw)
    planes = np.empty((1 if image.ndim == 2 else image.shape[2], height, width), np.float32)
    resize_into(planes, image, size_hw, (top, left), interpolation)
    return np.squeeze(planes.astype(np.uint8).transpose(1, 2, 0), axis=2 if image.ndim == 2 else ())


def by_pillow(image, size_hw, interpolation, crop):
    """Pillow's result with the horizontal pass first, which Pillow 13 no longer always does."""
    whole = Image.fromarray(image).resize((size_hw[1], image.shape[0]), PILLOW[interpolation])
    top, left, height, width = crop
    return np.asarray(whole.resize((size_hw[1], size_hw[0]), PILLOW[interpolation]))[
        top : top + height, left : left + width
    ]


def difference(got, expected):
    return np.abs(got.astype(int) - expected.astype(int))


@st.composite
def jobs(draw):
    height, width = draw(SIDES), draw(SIDES)
    size_hw = draw(SIDES), draw(SIDES)
    top, left = draw(st.integers(0, size_hw[0] - 1)), draw(st.integers(0, size_hw[1] - 1))
    crop = top, left, draw(st.integers(1, size_hw[0] - top)), draw(st.integers(1, size_hw[1] - left))
    return random_image(height, width, draw(st.integers(0, 9))), size_hw, crop


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(jobs(), st.sampled_from(list(PILLOW)))
def test_any_crop_of_any_size_equals_pillow(job, interpolation):
    image, size_hw, crop = job
    got = resize(image, size_hw, interpolation, crop)
    assert difference(got, by_pillow(image, size_hw, interpolation, crop)).max() == 0


@settings(max_examples=60, deadline=None)
@given(jobs())
def test_two_taps_stay_within_a_grey_level_of_cv2(job):
    image, size_hw, crop = job
    top, left, height, width = crop
    whole = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    got = resize(image, size_hw, Interpolation.OPENCV_LINEAR, crop)
    assert difference(got, whole[top : top + height, left : left + width]).max() <= 1


@pytest.mark.parametrize("interpolation", list(PILLOW))
@pytest.mark.parametrize(
    ("source_hw", "size_hw"),
    [((375, 500), (256, 341)), ((900, 1200), (256, 341)), ((1500, 2000), (64, 85)), ((150, 150), (512, 1024))],
    ids=str,
)
def test_usual_sizes_equal_pillow(source_hw, size_hw, interpolation):
    image = cv2.GaussianBlur(random_image(*source_hw), (0, 0), 1.5)
    wrong = difference(
        resize(image, size_hw, interpolation), by_pillow(image, size_hw, interpolation, (0, 0, *size_hw))
    )
    assert wrong.max() == 0


@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_grey_equals_each_channel_of_colour(interpolation):
    image = random_image(50, 70)
    whole = resize(image, (33, 91), interpolation)
    for channel in range(3):
        got = resize(np.ascontiguousarray(image[..., channel]), (33, 91), interpolation)
        assert got.shape == (33, 91)
        assert np.array_equal(got, whole[..., channel])


@pytest.mark.parametrize("interpolation", list(Interpolation))
@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
def test_a_flat_picture_stays_flat(level, interpolation):
    flat = np.full((41, 67, 3), level, np.uint8)
    for size_hw in ((41, 67), (7, 9), (100, 300), (1, 1)):
        assert (resize(flat, size_hw, interpolation) == level).all()


@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_the_own_size_is_the_identity(interpolation):
    image = random_image(37, 53)
    assert np.array_equal(resize(image, (37, 53), interpolation), image)


def test_a_crop_equals_the_same_part_of_the_whole():
    image = random_image(333, 500)
    whole = resize(image, (256, 384))
    assert np.array_equal(resize(image, (256, 384), crop=(16, 80, 224, 224)), whole[16:240, 80:304])


def test_channels_can_be_flipped_on_the_way():
    image = random_image(60, 80)
    straight, flipped = np.empty((2, 3, 30, 40), np.float32)
    resize_into(straight, image, (30, 40))
    resize_into(flipped, image, (30, 40), flip_channels=True)
    assert np.array_equal(straight[::-1], flipped)


def test_a_tall_picture_in_groups_equals_pillow():
    image = random_image(20_000, 3)
    got = resize(image, (224, 224))
    assert difference(got, by_pillow(image, (224, 224), Interpolation.BILINEAR, (0, 0, 224, 224))).max() == 0


def test_bands_cover_every_output_once_and_cannot_be_written_to():
    plan = axis(500, 341, 58, 224, Interpolation.BILINEAR)
    assert [i for band in plan.bands for i in range(band.outputs.start, band.outputs.stop)] == list(range(224))
    for band in plan.bands:
        assert band.weights.shape == (band.stop - band.first, band.outputs.stop - band.outputs.start)
        assert np.allclose(band.weights.sum(axis=0), 1, atol=1e-5)
        with pytest.raises(ValueError, match="read-only"):
            band.weights[0, 0] = 1
    assert axis(500, 341, 58, 224, Interpolation.BILINEAR) is plan


def test_a_side_too_long_is_refused():
    with pytest.raises(ImageError, match="at most 65536 px to be resampled, got 1x65537"):
        resize(np.zeros((1, 65537, 3), np.uint8), (224, 224))


def test_threads_do_not_share_buffers():
    images = [random_image(100 + 13 * i, 150, seed=i) for i in range(6)]
    expected = [resize(image, (64, 80)) for image in images]
    wrong = []

    def work(i):
        wrong.extend(i for _ in range(30) if not np.array_equal(resize(images[i], (64, 80)), expected[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
