import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.calibration.histogram import Histogram
from hrnet_deploy.calibration.thresholds import FLOOR, METHODS, amax, divergences
from hrnet_deploy.errors import UsageError


def of(values):
    histogram = Histogram()
    histogram.add(np.asarray(values, np.float32))
    return histogram


def normal(count, sigma=1.0, seed=0):
    return np.random.default_rng(seed).normal(0, sigma, count)


def slow_divergence(counts, kept):
    """The pseudocode of GTC 2017 S7310, bin by bin, in plain Python."""
    counts = [counts[1], *counts[1:]]
    p = counts[:kept]
    p[-1] += sum(counts[kept:])
    members = {}
    for j in range(kept):
        if counts[j]:
            members.setdefault(math.floor(Fraction(j * 128, kept)), []).append(j)
    q = [0.0] * kept
    for bins in members.values():
        for j in bins:
            q[j] = sum(counts[b] for b in bins) / len(bins)
    total_p, total_q = sum(p), sum(q)
    divergence = 0.0
    for a, b in zip(p, q, strict=True):
        if a and not b:
            return math.inf
        if a:
            divergence += a / total_p * math.log((a / total_p) / (b / total_q))
    return divergence


@st.composite
def counts_of_any_kind(draw):
    size = draw(st.integers(129, 420))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    decay = np.exp(-np.arange(size) * draw(st.floats(0, 0.1)))
    counts = rng.poisson(decay * draw(st.sampled_from([0.5, 3.0, 1e3, 1e9])))
    counts[0] = draw(st.sampled_from([0, 5, 10**9]))
    counts[-1] += 1
    return counts.astype(np.int64)


@settings(max_examples=60, deadline=None)
@given(counts_of_any_kind(), st.data())
def test_divergences_agree_with_the_slow_reference(counts, data):
    found = divergences(counts)
    assert len(found) == len(counts) - 127
    picks = {128, 129, 255, 256, 257, len(counts) - 1, len(counts), data.draw(st.integers(128, len(counts)))}
    for kept in sorted(k for k in picks if 128 <= k <= len(counts)):
        wanted = slow_divergence(counts.tolist(), kept)
        assert found[kept - 128] == pytest.approx(wanted, abs=1e-9), kept


@pytest.mark.parametrize("seed", range(3))
def test_the_choice_is_the_slow_reference_s(seed):
    values = np.append(np.maximum(normal(20_000, seed=seed), 0), [6.0 + seed])
    histogram = of(values)
    used = np.flatnonzero(histogram.counts)[-1] + 1
    counts = histogram.counts[:used].tolist()
    # Every 28th candidate, and the chosen one: the reference is slow.
    chosen = amax(histogram, "entropy", unsigned=True) / histogram.width - 0.5
    kept = min(round(chosen), used)
    best = slow_divergence(counts, kept)
    assert all(best <= slow_divergence(counts, k) + 1e-9 for k in range(128, used + 1, 28))
    assert best == pytest.approx(divergences(histogram.counts[:used]).min(), abs=1e-9)


def test_entropy_clips_a_far_outlier_of_a_gaussian():
    for count in (20_000, 1_000_000):
        found = amax(of(np.append(normal(count, 2), 60)), "entropy", unsigned=False)
        assert 6.5 < found < 10, count


def test_entropy_of_relu_outputs_does_not_heed_how_many_zeros_there_are():
    positive = np.append(np.abs(normal(100_000, 2)), 60)
    without = amax(of(positive), "entropy", unsigned=True)
    assert 6.5 < without < 10
    for zeros in (100_000, 10_000_000):
        with_zeros = np.append(positive, np.zeros(zeros))
        for method in METHODS:
            assert amax(of(with_zeros), method, unsigned=True) == amax(of(positive), method, unsigned=True)


def test_entropy_clips_the_tail_of_a_lognormal():
    values = np.random.default_rng(0).lognormal(0, 1, 1_000_000)
    assert 15 < amax(of(values), "entropy", unsigned=True) < 30 < values.max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("low", [-1.0, 0.0])
def test_nothing_clips_a_uniform(method, low):
    values = np.random.default_rng(0).uniform(low, 1, 300_000)
    # The last of 127 levels also holds half a step beyond itself, so the least squared error lies just below 1.
    assert amax(of(values), method, unsigned=low == 0) == pytest.approx(1, rel=1 / 127)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[0.7] * 1000, [-3.0], [0.0] * 50 + [1.0], [5e8], [3.4e38, -3.4e38, 1.0]])
def test_few_distinct_values_are_kept_whole(method, values):
    largest = float(np.abs(np.float32(values)).max())
    assert amax(of(values), method, unsigned=False) == pytest.approx(largest, rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "values", [[0.0], np.zeros(1000), [1e-45], [1e-38, -1e-30], [9e-4, 1e-5], [9.9e-4, -FLOOR / 2]]
)
def test_nothing_falls_below_the_floor(method, values):
    assert amax(of(values), method, unsigned=False) == FLOOR


def test_the_floor_s_scale_survives_half_precision():
    scale = FLOOR / 255
    assert np.float16(scale) == pytest.approx(scale, rel=0.01)


def test_percentile_lies_between_the_values_it_parts():
    values = np.random.default_rng(0).permutation(np.linspace(0, 1, 1_000_001))
    assert amax(of(values), "percentile", unsigned=True) == pytest.approx(0.9999, abs=1e-6)
    heavy = np.append(normal(1_000_000), np.full(50, 40.0))
    assert amax(of(heavy), "percentile", unsigned=False) == pytest.approx(4.055, rel=0.03)


def test_minmax_is_exact():
    assert amax(of([-2.625, 1.0]), "minmax", unsigned=False) == 2.625
    assert amax(of([0.1]), "minmax", unsigned=True) == np.float32(0.1)


def squared_error(values, threshold, steps):
    step = threshold / steps
    return np.mean((values - np.clip(np.rint(values / step), -steps, steps) * step) ** 2)


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("tail", ["gauss", "outlier", "laplace"])
def test_mse_is_the_least_squared_error_of_real_quantization(unsigned, tail):
    rng = np.random.default_rng(0)
    values = rng.laplace(size=200_000) if tail == "laplace" else rng.normal(size=200_000)
    values = np.append(values, 20.0 if tail == "outlier" else 0.0)
    values = (np.abs(values) if unsigned else values).astype(np.float32)
    steps = 255 if unsigned else 127
    found = amax(of(values), "mse", unsigned=unsigned)
    largest = float(np.abs(values).max())
    errors = [squared_error(values, t, steps) for t in np.geomspace(largest / 16, largest, 200)]
    assert squared_error(values, found, steps) <= 1.01 * min(errors)


def test_mse_clips_less_with_more_codes():
    histogram = of(np.abs(normal(1_000_000)))
    assert amax(histogram, "mse", unsigned=True) > amax(histogram, "mse", unsigned=False)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=80),
    st.sampled_from(METHODS),
    st.booleans(),
)
def test_every_amax_is_usable(values, method, unsigned):
    histogram = of(values)
    found = amax(histogram, method, unsigned=unsigned)
    assert isinstance(found, float)
    assert FLOOR <= found <= max(FLOOR, histogram.absmax)


@pytest.mark.parametrize("method", METHODS)
def test_scaling_by_a_power_of_two_scales_the_output(method):
    values = np.append(np.maximum(normal(50_000), 0), 9)
    found = amax(of(values), method, unsigned=True)
    assert amax(of(values * 64), method, unsigned=True) == pytest.approx(64 * found, rel=1e-9)


def test_an_unknown_method_is_refused():
    with pytest.raises(UsageError, match="must be one of entropy, percentile, minmax, mse, got 'kl'"):
        amax(of([1]), "kl", unsigned=False)


def test_no_values_are_refused():
    with pytest.raises(UsageError, match="must hold values, got none"):
        amax(Histogram(), "minmax", unsigned=False)
