"""The summary of a histogram."""

import numpy as np
import pytest

from hrnet_deploy.calibration.histogram import Histogram
from hrnet_deploy.calibration.table import RESIDUAL_INPUT_SHARE, TensorRange
from hrnet_deploy.errors import UsageError
from hrnet_deploy.qdq_plan import ActivationRange


def test_a_histogram_is_summarized():
    values = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    values[:1000] = 0
    histogram = Histogram()
    histogram.add(values)
    measured = TensorRange.measured(histogram, {"minmax": 4.0})
    assert (measured.low, measured.high) == (values.min(), values.max())
    assert (measured.count, measured.zeros) == (100_000, 1000)
    expected = np.quantile(np.abs(values), np.arange(1, 17) / 16)
    np.testing.assert_allclose(measured.quantiles, expected, atol=2 * histogram.width)
    assert measured.quantiles[-1] == histogram.absmax


def test_a_histogram_of_zeros_is_summarized_and_one_of_nothing_is_refused():
    histogram = Histogram()
    with pytest.raises(UsageError, match="must hold values"):
        TensorRange.measured(histogram, {"minmax": 1.0})
    histogram.add(np.zeros(5, np.float32))
    assert TensorRange.measured(histogram, {"minmax": 1.0}).quantiles == (0.0,) * 16


def seen(low, high):
    return TensorRange(low, high, {"minmax": 1.0}, 10, 0, (1.0,) * 16)


@pytest.mark.parametrize(
    ("low", "high", "amax", "expected"),
    [
        (-4.0, 8.0, 6.0, (-4.0, 6.0)),
        (-8.0, 4.0, 6.0, (-6.0, 4.0)),
        (1.0, 8.0, 6.0, (0.0, 6.0)),
        (-8.0, -1.0, 6.0, (-6.0, 0.0)),
        (0.0, 0.0, 0.001, (0.0, 0.001)),
        (-1e-5, 1e-5, 0.001, (-0.001, 0.001)),
    ],
)
def test_values_are_clipped_on_both_sides_of_zero(low, high, amax, expected):
    assert seen(low, high).clipped(amax) == ActivationRange(*expected)


def test_a_residual_input_keeps_less_below_zero_but_never_less_than_the_floor():
    assert seen(-4.0, 8.0).clipped(6.0, residual_input=True) == ActivationRange(-4.0 * RESIDUAL_INPUT_SHARE, 6.0)
    assert seen(0.0, 8.0).clipped(6.0, residual_input=True) == ActivationRange(0.0, 6.0)
    assert seen(-1e-5, 0.0).clipped(0.001, residual_input=True) == ActivationRange(-0.001, 0.001)
