"""Changed pixels are painted where they changed, by what the change did."""

import numpy as np
import pytest

from hrnet_deploy.report.thumbnails import GAINED_RGB, LOST_RGB, OTHER_RGB, paint_changes


def _count(image, rgb):
    return int((image == np.array(rgb[::-1])).all(axis=-1).sum())


@pytest.fixture
def masks():
    """Reference 0 everywhere; a third each of lost, gained and other."""
    reference = np.zeros((30, 30), np.uint8)
    candidate = np.ones((30, 30), np.uint8)
    label = np.zeros((30, 30), np.uint8)
    label[10:20], label[20:] = 1, 255
    return reference, candidate, label


def test_lost_is_solid_gained_is_striped_and_the_rest_is_yellow(masks):
    painted = paint_changes(None, *masks)
    assert _count(painted[:10], LOST_RGB) == 300
    assert _count(painted[10:20], GAINED_RGB) + _count(painted[10:20], (255, 255, 255)) == 300
    assert _count(painted[10:20], GAINED_RGB) == pytest.approx(150, abs=20)
    assert _count(painted[20:], OTHER_RGB) == 300


def test_a_single_changed_pixel_of_a_large_picture_is_seen():
    reference = np.zeros((1024, 2048), np.uint8)
    candidate = reference.copy()
    candidate[1023, 2047] = 1
    painted = paint_changes(np.zeros((1024, 2048, 3), np.uint8), reference, candidate, reference)
    assert painted.shape == (240, 480, 3)
    assert _count(painted, LOST_RGB) >= 1


def test_nothing_changed_nothing_painted():
    same = np.zeros((8, 8), np.uint8)
    painted = paint_changes(None, same, same, same)
    assert _count(painted, LOST_RGB) + _count(painted, GAINED_RGB) + _count(painted, OTHER_RGB) == 0
