"""What the network is given of calibration images."""

from pathlib import Path

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
def pictures(tmp_path):
    """Seven pictures of random pixels."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(7)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (12, 16, 3), np.uint8))
    return paths


def test_batches_are_what_the_preprocessor_gives(pictures):
    batches = Batches(pictures, SQUASH, 3)
    assert len(batches) == 3
    arrays = list(batches)
    assert [a.shape for a in arrays] == [(3, 3, 8, 8), (3, 3, 8, 8), (1, 3, 8, 8)]
    assert all(a.dtype == np.float32 for a in arrays)
    expected = [Preprocessor(SQUASH)(read_frame(path).image) for path in pictures]
    np.testing.assert_array_equal(np.concatenate(arrays), np.stack(expected))


@pytest.mark.parametrize("skipping", [False, True])
@pytest.mark.parametrize("start", range(5))
def test_batches_continue_where_they_were_left(pictures, start, skipping):
    if skipping:
        pictures[1].write_bytes(b"broken")
    batches = Batches(pictures, SQUASH, 2, on_error=(lambda *_: None) if skipping else None)
    whole, rest = list(batches), list(batches.from_index(start))
    assert len(rest) == max(len(whole) - start, 0)
    for ours, theirs in zip(rest, whole[start:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_whole_images_come_one_by_one(pictures):
    cv2.imwrite(str(pictures[1]), np.zeros((20, 30, 3), np.uint8))
    batches = Batches(pictures, WHOLE, 4)
    assert batches.batch == 1
    assert [a.shape for a in batches][:2] == [(1, 3, 12, 16), (1, 3, 20, 30)]


def test_an_unreadable_image_is_named_or_skipped(pictures):
    pictures[3].write_bytes(b"broken")
    pictures[5].unlink()
    with pytest.raises(ImageError, match=r"3\.png"):
        list(Batches(pictures, SQUASH, 2))
    with pytest.raises(MissingFileError, match=r"5\.png"):
        list(Batches(pictures[4:], SQUASH, 2))
    told = []
    arrays = list(Batches(pictures, SQUASH, 2, on_error=lambda name, error: told.append((Path(name).name, error))))
    assert [len(a) for a in arrays] == [2, 2, 1]
    assert [name for name, _ in told] == ["3.png", "5.png"]
    assert all(isinstance(error, ImageError) for _, error in told)


def test_an_image_of_another_size_is_named(pictures):
    exact = Preprocessing(resize=Resize.NONE, size_hw=(12, 16))
    cv2.imwrite(str(pictures[2]), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ImageError, match=r"2\.png: image must be 12x16 .*got 20x30"):
        list(Batches(pictures, exact, 2))


def test_nothing_but_unreadable_images_is_an_error(pictures):
    for path in pictures:
        path.write_bytes(b"broken")
    with pytest.raises(ImageError, match="got 7 that cannot"):
        list(Batches(pictures, SQUASH, 2, on_error=lambda *_: None))


@pytest.mark.parametrize(("count", "batch", "start"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_batches_refuse_what_makes_no_sense(pictures, count, batch, start):
    with pytest.raises(UsageError):
        list(Batches(pictures[:count], SQUASH, batch).from_index(start))


def test_real_images_become_batches(shared):
    images = choose(find_images(shared / "data" / "imagenet"), 5)
    arrays = list(Batches(images, Preprocessing(), 4))
    assert [a.shape for a in arrays] == [(4, 3, 224, 224), (1, 3, 224, 224)]
    assert len(set(content_hashes(images))) == 5
    held_out = find_images(shared / "data" / "imagenet" / "val", allow_val=True)
    check_disjoint(find_images(shared / "data" / "imagenet"), held_out)
