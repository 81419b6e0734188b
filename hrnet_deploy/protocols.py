"""What the rooms expect of each other; structural, so no room imports another for its types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.spec import TensorSpec

Tensors = dict[str, NDArray[np.generic]]
"""Named arrays, as they enter and leave an engine."""


class Engine(Protocol):
    """An opened artefact that computes."""

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
        """The artefact's own string metadata."""
        ...

    @property
    def device(self) -> str:
        """Where it really runs, such as "cpu" or "cuda:0"."""
        ...

    @property
    def backend(self) -> str:
        """What runs it, such as "onnxruntime"."""
        ...

    @property
    def arithmetic(self) -> str:
        """What it computes in, such as "float32", "bfloat16" or "int8 and float32"; "" where that is not known."""
        ...

    @property
    def lanes(self) -> int:
        """How many runs it is set up to compute side by side."""
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
