"""What the engines need of CUDA: memory, copies, streams and graphs.

Every handle (device address, stream, executable graph) is an int, so a provider can be swapped without a trace, and
every failing call is a DeviceError with CUDA's own error name.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

HostBytes = NDArray[np.uint8]
"""Pinned host memory: the GPU copies from and to it without staging."""


LEGACY_STREAM = 1
"""The legacy default stream, as `Cuda.wait`, `__cuda_array_interface__` and DLPack number it."""


class Cuda(Protocol):
    """A provider of CUDA."""

    @property
    def name(self) -> str:
        """Which one: "cuda-python" or "pycuda"."""
        ...

    def device_count(self) -> int:
        """How many GPUs there are; 0 without a driver, which is no error."""
        ...

    def capability(self, device: int) -> str:
        """Compute capability of a GPU, such as "sm90"."""
        ...

    def device_name(self, device: int) -> str:
        """Name of a GPU, such as "Tesla T4"."""
        ...

    def memory_info(self, device: int) -> tuple[int, int]:
        """Free and total bytes of a GPU's memory."""
        ...

    def activate(self, device: int) -> None:
        """Make a GPU current in this thread, for good."""
        ...

    def active(self, device: int) -> AbstractContextManager[None]:
        """Make a GPU current in this thread for a `with` block; the thread's own one is back afterwards."""
        ...

    def allocate(self, size: int) -> int:
        """Address of `size` bytes on the current GPU, aligned to 256."""
        ...

    def free(self, address: int) -> None:
        """Give back what `allocate` gave."""
        ...

    def allocate_host(self, size: int) -> HostBytes:
        """Pinned host memory of `size` bytes."""
        ...

    def free_host(self, array: HostBytes) -> None:
        """Give back what `allocate_host` gave; no view of it may be used afterwards."""
        ...

    def stream(self) -> int:
        """A new stream that does not wait for the legacy default stream."""
        ...

    def destroy_stream(self, stream: int) -> None:
        """Give back what `stream` gave."""
        ...

    def synchronize(self, stream: int) -> None:
        """Wait until everything put on a stream is done."""
        ...

    def wait(self, stream: int, other: int) -> None:
        """Make what follows on `stream` wait for what is on `other` now; the host does not wait.

        `other` may also be 1, the legacy default stream, or 2, the thread's own default stream, as in
        `__cuda_array_interface__`.
        """
        ...

    def copy_in(self, device_address: int, host_address: int, size: int, stream: int) -> None:
        """Put a copy of host memory to the GPU on a stream."""
        ...

    def copy_out(self, host_address: int, device_address: int, size: int, stream: int) -> None:
        """Put a copy of GPU memory to the host on a stream."""
        ...

    def copy_across(self, target: int, source: int, size: int, stream: int) -> None:
        """Put a copy within the GPU's memory on a stream."""
        ...

    def begin_capture(self, stream: int) -> None:
        """Record what this thread puts on a stream, instead of running it."""
        ...

    def end_capture(self, stream: int) -> int:
        """End the recording, also a failed one.

        Returns:
            The executable graph of what was recorded.
        """
        ...

    def launch(self, graph: int, stream: int) -> None:
        """Run a recorded graph on a stream."""
        ...

    def destroy_graph(self, graph: int) -> None:
        """Give back what `end_capture` gave."""
        ...
