"""Bootstrap confidence intervals of a difference between two models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
"""Default number of resampled sets."""
SEED = 20
"""Default seed."""

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Maps sums over images, float64 (n, k), to one value per set, float64 (n,)."""

_LOW, _HIGH = 2.5, 97.5
_MAX_COUNTS = 1 << 22  # counts drawn at once (32 MB)


def paired_interval(
    rows: NDArray[np.integer], statistic: Statistic, *, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, float] | None:
    """Compute the 95 % percentile bootstrap interval of a statistic of rows (images, k); None below two images.

    Each row holds the counts of both models for one image, so the interval is narrow where they mostly agree. Equal
    rows are drawn together as one multinomial count, which has the same distribution at less cost.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    if len(rows) < 2:
        return None
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, min(resamples, _MAX_COUNTS // len(distinct)))
    values: list[NDArray[np.float64]] = []
    for start in range(0, resamples, chunk):
        drawn = generator.multinomial(len(rows), counts / len(rows), size=min(chunk, resamples - start))
        values.append(statistic(drawn.astype(np.float64) @ distinct.astype(np.float64)))
    low, high = np.percentile(np.concatenate(values), (_LOW, _HIGH))
    return float(low), float(high)
