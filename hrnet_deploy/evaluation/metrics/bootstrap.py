"""How far a difference between two nets could be luck of the images drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
"""Default number of resampled sets."""
SEED = 20
"""Default seed."""

Figure = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From sums over images, float64 (n, k), to a figure of each set, float64 (n,)."""

_LOW, _HIGH = 2.5, 97.5
_MAX_COUNTS = 1 << 22  # counts drawn at once (32 MB)


def paired_interval(
    rows: NDArray[np.integer],
    figure: Figure,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of a figure that is computed from sums over images.

    Images are drawn with replacement, each with what both nets made of it, which is why the interval is narrow where
    they mostly agree. Equal rows are drawn together, as one multinomial count: the same distribution at less cost.

    Args:
        rows: one row of counts an image, of both nets, (images, k).
        figure: what the interval is of.
        resamples: resampled sets.
        seed: another one gives an interval that differs a little.

    Returns:
        (low, high); None below two images. Where no image tells the nets apart it is (0, 0) for a difference, however
        few the images.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    if len(rows) < 2:
        return None
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, min(resamples, _MAX_COUNTS // len(distinct)))
    found: list[NDArray[np.float64]] = []
    for start in range(0, resamples, chunk):
        drawn = generator.multinomial(len(rows), counts / len(rows), size=min(chunk, resamples - start))
        found.append(figure(drawn.astype(np.float64) @ distinct.astype(np.float64)))
    low, high = np.percentile(np.concatenate(found), (_LOW, _HIGH))
    return float(low), float(high)
