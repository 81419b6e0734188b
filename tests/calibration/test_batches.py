"""Calibration images as network input."""

import cv2
import numpy as np
import pytest

from hrnet_deploy.calibration.batches import Batches
from hrnet_deploy.calibration.image_folder import find_images
from hrnet_deploy.calibration.image_selection import check_disjoint, choose, content_hashes
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import Preprocessing, Resize

SQUASH = Preprocessing(resize=Resize.SQUASH, size_hw=(8, 8))
WHOLE = Preprocessing(resize=Resize.NONE, size_hw=None)


@pytest.fixture
def images(tmp_path):
    """Seven images of random pixels."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(7)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (12, 16, 3), np.uint8))
    return paths


def test_batches_are_what_the_preprocessor_gives(images):
    batches = Batches(images, SQUASH, 3)
    arrays = list(batches)
    assert [a.shape for a in arrays] == [(3, 3, 8, 8), (3, 3, 8, 8), (1, 3, 8, 8)]
    assert all(a.dtype == np.float32 for a in arrays)
    expected = [Preprocessor(SQUASH)(read_frame(path).image) for path in images]
    np.testing.assert_array_equal(np.concatenate(arrays), np.stack(expected))


@pytest.mark.parametrize("start", range(5))
def test_batches_continue_at_an_index(images, start):
    batches = Batches(images, SQUASH, 2)
    whole, rest = list(batches), list(batches.from_index(start))
    assert len(rest) == max(len(whole) - start, 0)
    for ours, theirs in zip(rest, whole[start:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_whole_images_come_one_by_one(images):
    cv2.imwrite(str(images[1]), np.zeros((20, 30, 3), np.uint8))
    batches = Batches(images, WHOLE, 4)
    assert [a.shape for a in batches][:2] == [(1, 3, 12, 16), (1, 3, 20, 30)]


def test_an_unreadable_image_is_named(images):
    images[3].write_bytes(b"broken")
    images[5].unlink()
    with pytest.raises(ImageError, match=r"3\.png"):
        list(Batches(images, SQUASH, 2))
    with pytest.raises(MissingFileError, match=r"5\.png"):
        list(Batches(images[4:], SQUASH, 2))


def test_an_image_of_another_size_is_named(images):
    exact = Preprocessing(resize=Resize.NONE, size_hw=(12, 16))
    cv2.imwrite(str(images[2]), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ImageError, match=r"2\.png: image must be 12x16 .*got 20x30"):
        list(Batches(images, exact, 2))


def test_batches_need_an_image():
    with pytest.raises(UsageError, match="at least one image"):
        Batches((), SQUASH, 1)


def test_real_images_become_batches(shared):
    chosen = choose(find_images(shared / "data" / "imagenet"), 5)
    arrays = list(Batches(chosen, Preprocessing(), 4))
    assert [a.shape for a in arrays] == [(4, 3, 224, 224), (1, 3, 224, 224)]
    assert len(set(content_hashes(chosen))) == 5
    held_out = find_images(shared / "data" / "imagenet" / "val", allow_val=True)
    check_disjoint(find_images(shared / "data" / "imagenet"), held_out)
