import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hrnet_deploy.calibration.histogram import BINS, Histogram
from hrnet_deploy.errors import UsageError

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
DATA = arrays(np.float32, st.integers(1, 60), elements=FINITE)


def of(*batches):
    histogram = Histogram()
    for batch in batches:
        histogram.add(np.asarray(batch, np.float32))
    return histogram


def state(histogram):
    return (histogram.limit, histogram.low, histogram.high, histogram.zeros, histogram.counts.tolist())


def same(one, other):
    return state(one) == state(other)


def by_definition(values):
    """Bin of every |x| in exact arithmetic, one value at a time."""
    peak = max(abs(float(v)) for v in values)
    limit = 2.0**-100
    while limit <= peak:
        limit *= 2
    counts = [0] * BINS
    for value in values:
        counts[math.floor(abs(float(value)) / limit * BINS)] += 1
    return limit, counts


@given(DATA)
def test_every_value_lies_in_the_bin_of_its_definition(values):
    found = of(values)
    if np.any(values):
        limit, counts = by_definition(values)
        assert found.limit == limit
        np.testing.assert_array_equal(found.counts, counts)
    assert (found.low, found.high) == (values.min(), values.max())
    assert found.absmax == np.abs(values).max()
    assert found.zeros == np.sum(values == 0)
    assert found.count == values.size


@pytest.mark.slow
@given(st.lists(DATA, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_neither_split_nor_order_changes_anything(batches, random):
    whole = of(np.concatenate(batches))
    assert same(of(*batches), whole)
    mixed = np.concatenate(batches)
    random.shuffle(mixed)
    assert same(of(mixed[: len(mixed) // 3], mixed[len(mixed) // 3 :]), whole)


@given(DATA, st.integers(0, 20))
def test_doubling_the_range_merges_pairs_and_keeps_every_count(values, doublings):
    histogram = of(values, [1.0, 0.75])
    before, limit = histogram.counts.copy(), histogram.limit
    top = limit * 2.0**doublings
    if top >= 2.0**128:
        return
    histogram.add(np.array([top], np.float32))
    assert histogram.count == before.sum() + 1
    for _ in range(doublings + 1):
        before = np.concatenate([before.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
    before[BINS // 2] += 1
    np.testing.assert_array_equal(histogram.counts, before)


def test_edges_belong_to_the_bin_above():
    edges = np.arange(BINS, dtype=np.float32) / BINS
    for values in (edges, -edges, np.nextafter(edges + np.float32(1 / BINS), np.float32(0))):
        np.testing.assert_array_equal(of(values).counts, np.ones(BINS))


def test_a_power_of_two_opens_the_next_range():
    histogram = of([4.0])
    assert histogram.limit == 8.0
    assert histogram.counts[BINS // 2] == 1
    assert of([np.nextafter(np.float32(4), np.float32(0))]).limit == 4.0


@given(DATA)
def test_at_least_half_of_the_bins_lie_below_the_largest_value(values):
    histogram = of(values)
    if histogram.absmax >= 2.0**-100:
        assert np.flatnonzero(histogram.counts)[-1] >= BINS // 2


def test_zeros_leave_the_range_open():
    histogram = of(np.zeros((2, 3)), [-0.0])
    assert (histogram.limit, histogram.width, histogram.absmax, histogram.zeros) == (0.0, 0.0, 0.0, 7)
    assert histogram.counts[0] == histogram.count == 7
    histogram.add(np.array([-0.5], np.float32))
    assert (histogram.limit, histogram.zeros, histogram.count, histogram.low, histogram.high) == (1.0, 7, 8, -0.5, 0.0)
    assert same(histogram, of([-0.5], np.zeros(7)))


def test_no_values_are_no_values():
    histogram = of(np.zeros((0, 4)))
    assert (histogram.count, histogram.absmax, histogram.low, histogram.high) == (0, 0.0, math.inf, -math.inf)


@pytest.mark.parametrize("value", [1e-45, 1e-38, 3.4028235e38])
def test_the_ends_of_float32_are_counted(value):
    histogram = of([value, -value, 0])
    assert (histogram.count, histogram.zeros) == (3, 1)
    assert histogram.high == np.float32(value)
    assert histogram.limit > histogram.absmax


def test_a_range_that_explodes_leaves_what_was_small_in_the_first_bin():
    histogram = of(np.linspace(0.1, 1, 1000), [1e30])
    assert histogram.counts[0] == 1000
    assert histogram.count == 1001


def test_many_values_and_any_layout_are_counted_once():
    values = np.random.default_rng(0).normal(size=(3, 1000, 1000)).astype(np.float32)
    found = of(values.transpose(2, 0, 1))
    index = (np.abs(values) / found.width).astype(np.int64)
    np.testing.assert_array_equal(found.counts, np.bincount(index.reshape(-1), minlength=BINS))


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_what_is_not_finite_is_named_and_changes_nothing(value, word):
    histogram = of([1.0, 2.0])
    before = state(histogram)
    with pytest.raises(UsageError, match=rf"^activation 'a/b' must be finite, got .*{word}\. Check"):
        histogram.add(np.array([5.0, value], np.float32), "a/b")
    assert state(histogram) == before


def test_other_types_than_float32_are_refused():
    with pytest.raises(UsageError, match="'x' must be float32, got float64"):
        Histogram().add(np.zeros(3), "x")
