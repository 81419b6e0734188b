"""Batches of the size a graph insists on."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.spec import TensorSpec

_Scalar = TypeVar("_Scalar", bound=np.generic)


def filled(batch: NDArray[_Scalar], entry: TensorSpec, least: int = 1) -> NDArray[_Scalar]:
    """Repeat a batch's rows, in turn, up to a graph's batch where that is a number, else to the least it takes.

    Args:
        batch: at least one row.
        entry: the graph's input.
        least: rows of the smallest batch where the graph's is open.

    Returns:
        Exactly as many rows as a graph of a fixed batch takes; the same array where it is open and there are enough.
    """
    count = entry.shape[0]
    if isinstance(count, str):
        count = max(least, len(batch))
    if count == len(batch):
        return batch
    repeated: NDArray[_Scalar] = batch[np.arange(count) % len(batch)]
    return repeated
