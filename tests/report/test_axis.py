"""An axis holds its values and has round ticks."""

import pytest

from hrnet_deploy.report.axis import Axis


@pytest.mark.parametrize(
    ("values", "min_span"),
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
def test_an_axis_holds_its_values_and_ends_at_round_figures(values, min_span):
    axis = Axis.over(values, 10, 110, min_span=min_span)
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert axis.high - axis.low >= min_span
    assert 2 <= len(axis.ticks) <= 12
    assert all(10 <= axis(value) <= 110 for value in values)
    labels = [axis.label(tick) for tick in axis.ticks]
    assert len(set(labels)) == len(labels)
