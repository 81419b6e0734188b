"""Protocols between packages; structural, so that no package imports another for its types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.spec import TensorSpec

Tensors = dict[str, NDArray[np.generic]]
"""Arrays by name, the input and output of an engine."""


class Engine(Protocol):
    """An open artifact that computes."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Graph inputs."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Graph outputs."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """The artifact's string metadata."""
        ...

    @property
    def device(self) -> str:
        """Device of the computation, such as "cpu" or "cuda:0"."""
        ...

    @property
    def backend(self) -> str:
        """Name of the runtime, such as "onnxruntime"."""
        ...

    @property
    def arithmetic(self) -> str:
        """Arithmetic, such as "float32", "bfloat16" or "int8 and float32"; "" where unknown."""
        ...

    @property
    def streams(self) -> int:
        """Number of runs that it computes side by side."""
        ...

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Tensors:
        """Compute every output for one batch.

        Args:
            feed: one array per graph input, of its dtype and a shape that fits.

        Returns:
            One array per graph output. Safe to call from several threads.

        Raises:
            UsageError: a missing, unknown or ill-shaped input.
            DeviceError: the runtime failed.
        """
        ...

    def close(self) -> None:
        """Release the runtime's memory; the engine cannot run afterwards."""
        ...
