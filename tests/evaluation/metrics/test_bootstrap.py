"""Intervals: equal to drawing images one by one, and honest where there is nothing to draw."""

import numpy as np
import pytest

from hrnet_deploy.evaluation.compare import _miou_drop, _share_drop
from hrnet_deploy.evaluation.metrics.bootstrap import paired_interval


def counts(*hits):
    """Rows of both models' hits and of one image each."""
    return np.stack([*hits, np.ones(len(hits[0]))], axis=1).astype(np.int64)


@pytest.mark.slow
def test_counts_of_equal_rows_give_the_distribution_of_single_draws():
    generator = np.random.default_rng(0)
    rows = counts(generator.random(400) < 0.8, generator.random(400) < 0.75)
    low, high = paired_interval(rows, _share_drop, resamples=20_000)
    draws = [rows[generator.integers(0, 400, 400)].sum(axis=0) for _ in range(20_000)]
    wanted = np.percentile([100 * (a - b) / 400 for a, b, _ in draws], (2.5, 97.5))
    assert (low, high) == pytest.approx(wanted, abs=0.3)


def test_pairing_makes_the_interval_narrow_where_nets_agree():
    generator = np.random.default_rng(1)
    ours = (generator.random(1000) < 0.7).astype(np.int64)
    theirs = ours.copy()
    theirs[:5] = 1 - theirs[:5]
    paired = paired_interval(counts(ours, theirs), _share_drop)
    strangers = paired_interval(counts(ours, generator.permutation(theirs)), _share_drop)
    assert paired[1] - paired[0] < 0.25 * (strangers[1] - strangers[0])


def test_miou_is_resampled_over_images():
    generator = np.random.default_rng(2)
    labelled = generator.integers(50, 100, (60, 3))
    ours, theirs = (labelled * share // 10 for share in (9, 8))
    rows = np.concatenate([labelled, ours, labelled, theirs, labelled], axis=1)
    low, high = paired_interval(rows, _miou_drop)
    point = float(_miou_drop(rows.sum(axis=0, keepdims=True).astype(float))[0])
    assert 0 < low < point < high
    draws = [rows[generator.integers(0, 60, 60)].sum(axis=0) for _ in range(4000)]
    wanted = np.percentile(_miou_drop(np.array(draws, float)), (2.5, 97.5))
    assert (low, high) == pytest.approx(wanted, abs=0.15 * (high - low))


def test_the_seed_decides():
    rows = counts([1, 0, 1, 1] * 10, [0, 1, 1, 0] * 10)
    first, again = (paired_interval(rows, _share_drop, seed=5) for _ in range(2))
    assert first == again != paired_interval(rows, _share_drop, seed=6)


@pytest.mark.parametrize(("rows", "interval"), [([[1, 1], [0, 0]], (0.0, 0.0)), ([[1, 0]], None)])
def test_edges(rows, interval):
    assert paired_interval(counts(*np.transpose(rows)), _share_drop) == interval


def test_memory_is_bounded_by_drawing_in_parts(monkeypatch):
    rows = np.stack([np.arange(50), np.arange(50)[::-1]], axis=1)
    monkeypatch.setattr("hrnet_deploy.evaluation.metrics.bootstrap._MAX_COUNTS", 100)
    sizes = []

    def figure(sums):
        sizes.append(len(sums))
        return sums[:, 0]

    paired_interval(rows, figure, resamples=7)
    assert sizes == [2, 2, 2, 1]
