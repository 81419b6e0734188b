import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hrnet_deploy.engines.difference import Cosine, Difference, compare, cosines

WORST = Difference(np.inf, np.inf, 0.0)


def test_the_difference_is_in_units_of_the_references_spread():
    reference = np.array([[0, 10], [10, 0]], np.float32)  # a spread of 5
    ours = reference + np.array([[0, 1], [0, 0]], np.float32)
    assert compare(ours, reference) == Difference(1.0, pytest.approx(0.2), 1.0)


@pytest.mark.parametrize(
    ("ours", "agreement"),
    [([[2, 1], [1, 2]], 1.0), ([[2, 1], [2, 1]], 0.5), ([[1, 2], [2, 1]], 0.0)],
)
def test_agreement_counts_the_rows_with_the_same_best_class(ours, agreement):
    assert compare(np.array(ours, np.float32), np.array([[3, 1], [1, 3]], np.float32)).agreement == agreement


def test_agreement_of_a_segmentation_counts_pixels():
    reference = np.zeros((1, 2, 2, 2), np.float32)
    ours = reference.copy()
    ours[0, 1, 0, 0] = 1e-3
    assert compare(ours, reference).agreement == 0.75


def test_labels_are_equal_or_not():
    found = compare(np.array([[1, 2, 3, 4]], np.uint8), np.array([[1, 2, 3, 5]], np.int64))
    assert found == Difference(0.0, 0.0, 0.75)


def test_a_constant_reference_does_not_divide_by_zero():
    found = compare(np.full((1, 3), 1e-3), np.zeros((1, 3)))
    assert found.max_rel == pytest.approx(1e3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["ours", "reference", "both"])
def test_what_is_not_finite_is_never_close(value, place):
    fine, broken = np.ones((2, 3), np.float32), np.full((2, 3), value, np.float32)
    ours, reference = {"ours": (broken, fine), "reference": (fine, broken), "both": (broken, broken)}[place]
    assert compare(ours, reference) == WORST


def test_another_shape_is_never_close_even_where_it_would_broadcast():
    assert compare(np.ones((1, 3)), np.ones((2, 3))) == WORST


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32)))
def test_an_array_agrees_with_itself(values):
    assert compare(values, values.copy()) == Difference(0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("ours", "reference", "cosine"),
    [
        ([[1, 0]], [[2, 0]], 1.0),
        ([[1, 0]], [[0, 3]], 0.0),
        ([[1, 1]], [[-1, -1]], -1.0),
        ([[0, 0]], [[0, 0]], 1.0),
        ([[0, 0]], [[0, 1]], -1.0),
        ([[np.nan, 0]], [[1, 0]], -1.0),
        ([[1, 0, 0]], [[1, 0]], -1.0),
    ],
)
def test_the_cosine_of_a_feature(ours, reference, cosine):
    assert cosines(np.array(ours, np.float32), np.array(reference, np.float32)) == [pytest.approx(cosine)]


def test_a_map_is_one_vector_an_image():
    maps = np.ones((2, 3, 4, 4), np.float32)
    maps[1, 0] = 0
    first, second = cosines(maps, np.ones_like(maps))
    assert (first, second) == (pytest.approx(1), pytest.approx((2 / 3) ** 0.5))
    assert Cosine.of([1.0, 0.5]) == Cosine(0.75, 0.5)
