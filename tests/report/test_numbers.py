"""Figures are written one way."""

import pytest

from hrnet_deploy.report.numbers import interval, megabytes, milliseconds, percent, points, ratio, visible
from hrnet_deploy.report.scale import Scale


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (percent(0.71234), "71.23%"),
        (percent(None), "-"),
        (points(0.333), "0.33"),
        (points(-0.333), "\N{MINUS SIGN}0.33"),
        (points(-0.001), "0.00"),
        (points(None), "-"),
        (interval(-0.5, 1), "\N{MINUS SIGN}0.50 to 1.00"),
        (interval(None, None), "-"),
        (milliseconds(0.1234), "0.12"),
        (milliseconds(12.34), "12.3"),
        (milliseconds(1234.5), "1234"),
        (milliseconds(None), "-"),
        (megabytes(44_700_000), "44.7"),
        (ratio(1.999), "2.00\N{MULTIPLICATION SIGN}"),
        (ratio(None), "-"),
        (visible("a\tb\x00\u202e\udcff"), "a\ufffdb\ufffd\ufffd\ufffd"),
    ],
)
def test_figures(made, expected):
    assert made == expected


@pytest.mark.parametrize(
    ("values", "least"),
    [
        ([0, 0], 0),
        ([0, 0], 0.5),
        ([-1, 2], 0),
        ([0.001, 0.0011], 0),
        ([0, 12345], 0),
        ([70.0, 70.0, 70.3], 0.5),
        ([-3], 0),
    ],
)
def test_a_scale_holds_its_values_and_ends_at_round_figures(values, least):
    scale = Scale.over(values, 10, 110, least=least)
    assert scale.low <= min(values)
    assert scale.high >= max(values)
    assert scale.high - scale.low >= least
    assert 2 <= len(scale.ticks) <= 12
    assert all(10 <= scale(value) <= 110 for value in values)
    written = [scale.written(tick) for tick in scale.ticks]
    assert len(set(written)) == len(written)
