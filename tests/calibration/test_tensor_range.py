"""The summary of a histogram."""

import numpy as np
import pytest

from hrnet_deploy.calibration.histogram import Histogram
from hrnet_deploy.calibration.tensor_range import TensorRange
from hrnet_deploy.errors import UsageError


def test_a_histogram_is_summarised():
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


def test_a_histogram_of_zeros_is_summarised_and_one_of_nothing_is_refused():
    histogram = Histogram()
    with pytest.raises(UsageError, match="must hold values"):
        TensorRange.measured(histogram, {"minmax": 1.0})
    histogram.add(np.zeros(5, np.float32))
    assert TensorRange.measured(histogram, {"minmax": 1.0}).quantiles == (0.0,) * 16
