import itertools

import numpy as np
import pytest

from hrnet_deploy.imaging.synthetic_images import synthetic_images


def power_slope(image):
    """Exponent of the radial power spectrum between 4 and 64 cycles an image: power ~ frequency ** slope."""
    gray = image.astype(np.float64).mean(axis=2)
    gray = (gray - gray.mean()) * np.outer(np.hanning(gray.shape[0]), np.hanning(gray.shape[1]))
    power = np.abs(np.fft.fft2(gray)) ** 2
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n) * n for n in gray.shape], indexing="ij"))
    edges = np.geomspace(4, 64, 9)
    means = [power[(frequency >= a) & (frequency < b)].mean() for a, b in itertools.pairwise(edges)]
    return np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(means), 1)[0]


@pytest.fixture(scope="module")
def images():
    return synthetic_images(4, (256, 256))


def test_equal_arguments_give_equal_images_and_more_of_them_only_adds(images):
    again = synthetic_images(2, (256, 256))
    assert all(np.array_equal(a, b) for a, b in zip(again, images, strict=False))


def test_images_of_one_call_differ(images):
    assert np.abs(images[0].astype(int) - images[1]).mean() > 20


def test_their_power_falls_with_frequency_as_that_of_photographs_does(images):
    slopes = [power_slope(image) for image in images]
    assert all(-4 < slope < -1.5 for slope in slopes), slopes


def test_white_noise_would_not_pass_for_a_photograph():
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert abs(power_slope(noise)) < 0.5


def test_they_use_the_full_range_of_every_channel(images):
    every = np.concatenate([p.reshape(-1, 3) for p in images])
    assert (every.min(axis=0) == 0).all()
    assert (every.max(axis=0) == 255).all()
    assert ((every.std(axis=0) > 40) & (every.std(axis=0) < 90)).all()


def test_their_channels_are_correlated_but_not_gray(images):
    correlation = np.corrcoef(images[0].reshape(-1, 3).T)[np.triu_indices(3, 1)]
    assert ((correlation > 0.6) & (correlation < 0.99)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (37, 5), (64, 128)])
def test_any_size_can_be_had(size):
    (image,) = synthetic_images(1, size)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8


def test_no_images_may_be_asked_for():
    assert synthetic_images(0, (8, 8)) == []
