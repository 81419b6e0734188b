"""The batch that a model receives: rows of one size, filled up to the smallest batch of the artifact."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.spec import ModelCard


class BatchBuffer:
    """Stacks rows in memory that each thread keeps for its next batch; safe to use from several threads."""

    def __init__(self, card: ModelCard) -> None:
        self._dtype = np.dtype(card.inputs[0].dtype)
        self._min_batch = card.least_batch
        self._own = threading.local()

    def stack(self, rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Stack rows.

        Args:
            rows: at least one, all of one shape.

        Returns:
            (batch, *shape) in the type of the model's input, with the rows first. It is valid until the thread stacks
            again; a single row that needs no copy is used in place.
        """
        count = max(len(rows), self._min_batch)
        if count == len(rows) == 1 and rows[0].dtype == self._dtype:
            return rows[0][None]
        shape = (count, *rows[0].shape)
        buffer: NDArray[Any] | None = getattr(self._own, "batch", None)
        if buffer is None or buffer.shape[1:] != shape[1:] or len(buffer) < count:
            buffer = self._own.batch = np.zeros(shape, self._dtype)
        for place, row in zip(buffer, rows, strict=False):
            place[...] = row
        return buffer[:count]
