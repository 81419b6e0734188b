"""Rounding that keeps a layer's outputs: against all roundings where there are few, and against the nearest one."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.calibration.gptq import round_columns


def moments(inputs):
    return (inputs.T @ inputs / len(inputs)).astype(np.float32)


def error(weights, scales, levels, power):
    off = (weights / scales[:, None] - levels).astype(np.float64)
    return np.einsum("ij,jk,ik->i", off, power.astype(np.float64), off)


def nearest(weights, scales):
    return np.clip(np.rint(weights / scales[:, None]), -127, 127)


def test_it_comes_near_the_best_of_all_roundings():
    found, plain, best = [], [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        inputs = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 2  # they go together, as neighboring pixels do
        weights = rng.normal(size=(4, 6)).astype(np.float32)
        scales, power = np.abs(weights).max(axis=1) / 5, moments(inputs)
        found += [*error(weights, scales, round_columns(weights, scales, power), power)]
        plain += [*error(weights, scales, nearest(weights, scales), power)]
        for row, scale in zip(weights, scales, strict=True):
            around = [(np.floor(v), np.floor(v) + 1) for v in row / scale]
            every = np.array(list(itertools.product(*around)))
            best.append(error(np.tile(row, (64, 1)), np.full(64, scale), every, power).min())
    assert sum(found) < 1.25 * sum(best)
    assert sum(plain) > 1.8 * sum(best)


def test_a_smooth_image_keeps_its_brightness():
    ramp = np.linspace(0, 1, 500)[:, None] + np.random.default_rng(0).normal(scale=0.01, size=(500, 9))
    weights = np.full((1, 9), 0.3, np.float32)
    weights[0, 0] = 1.0
    scales = np.array([0.7], np.float32)  # nine thirds of a level, all rounded down, would be three lost
    assert nearest(weights, scales).sum() == 1
    assert round_columns(weights, scales, moments(ramp)).sum() == round(float(weights.sum()) / 0.7)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 90), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_no_output_is_worse_than_with_the_nearest_levels(seed, outputs, size, pixels):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(pixels, size)) * rng.choice([0, 1, 100], size)
    weights = rng.normal(size=(outputs, size)).astype(np.float32)
    scales = (np.abs(weights).max(axis=1) / rng.choice([3, 127])).astype(np.float32)
    power = moments(inputs)
    levels = round_columns(weights, scales, power)
    assert levels.dtype == np.int8
    assert np.abs(levels.astype(int)).max() <= 127
    plain = error(weights, scales, nearest(weights, scales), power)
    assert np.all(error(weights, scales, levels, power) <= plain * (1 + 1e-3) + 1e-6)


def test_independent_inputs_leave_the_nearest_levels():
    weights = np.random.default_rng(0).normal(size=(3, 4, 2, 2)).astype(np.float32)
    scales = np.abs(weights).max(axis=(1, 2, 3)) / 127
    found = round_columns(weights, scales, np.eye(16, dtype=np.float32))
    np.testing.assert_array_equal(found, np.rint(weights / scales[:, None, None, None]))


@pytest.mark.parametrize("power", [0.0, np.inf, np.nan])
def test_where_nothing_ever_came_in_or_too_much_levels_are_the_nearest(power):
    weights = np.array([[0.4, -1.0]], np.float32)
    found = round_columns(weights, np.array([0.5], np.float32), np.full((2, 2), power, np.float32))
    np.testing.assert_array_equal(found, [[1, -2]])
