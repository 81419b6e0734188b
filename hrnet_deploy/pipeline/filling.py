"""Batches of the size a graph insists on."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.spec import TensorSpec

_Scalar = TypeVar("_Scalar", bound=np.generic)


def filled(batch: NDArray[_Scalar], entry: TensorSpec) -> NDArray[_Scalar]:
    """Repeat a batch's rows, in turn, up to a graph's batch where that is a number.

    Args:
        batch: at least one row.
        entry: the graph's input.

    Returns:
        The same array where the graph's batch is open, else exactly as many rows as it takes.
    """
    count = entry.shape[0]
    if isinstance(count, str):
        return batch
    repeated: NDArray[_Scalar] = batch[np.arange(count) % len(batch)]
    return repeated
