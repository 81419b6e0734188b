"""The CUDA calls that the engines use: memory, copies, streams and graphs.

Every handle (device address, stream, executable graph) is an int, so that providers can be exchanged. A failed call
raises a DeviceError with CUDA's name of the error.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

HostBytes = NDArray[np.uint8]
"""Pinned host memory, which the GPU copies from and to without staging."""
LEGACY_STREAM = 1
"""Number of the legacy default stream in `Cuda.wait`, `__cuda_array_interface__` and DLPack."""


class Cuda(Protocol):
    """A provider of CUDA."""

    @property
    def name(self) -> str:
        """Name of the provider: "cuda-python" or "pycuda"."""

    def device_count(self) -> int:
        """Return the number of GPUs; 0 without a driver, which is no error."""

    def capability(self, device: int) -> str:
        """Return the compute capability of a GPU, such as "sm90"."""

    def device_name(self, device: int) -> str:
        """Return the name of a GPU, such as "Tesla T4"."""

    def memory_info(self, device: int) -> tuple[int, int]:
        """Return the free and total bytes of a GPU's memory."""

    def activate(self, device: int) -> None:
        """Make a GPU current in this thread permanently."""

    def active(self, device: int) -> AbstractContextManager[None]:
        """Make a GPU current in this thread for a `with` block, and restore the previous one afterwards."""

    def allocate(self, size: int) -> int:
        """Allocate `size` bytes on the current GPU, aligned to 256; returns the address."""

    def free(self, address: int) -> None:
        """Free memory from `allocate`."""

    def allocate_host(self, size: int) -> HostBytes:
        """Allocate `size` bytes of pinned host memory."""

    def free_host(self, array: HostBytes) -> None:
        """Free memory from `allocate_host`; no view of it may be used afterwards."""

    def stream(self) -> int:
        """Create a stream that does not wait for the legacy default stream."""

    def destroy_stream(self, stream: int) -> None:
        """Destroy a stream from `stream`."""

    def synchronize(self, stream: int) -> None:
        """Wait until all work of a stream is done."""

    def wait(self, stream: int, other: int) -> None:
        """Order later work of `stream` behind the present work of `other`; the host does not wait.

        `other` may also be 1, the legacy default stream, or 2, the thread's default stream, as in
        `__cuda_array_interface__`.
        """

    def copy_in(self, device_address: int, host_address: int, size: int, stream: int) -> None:
        """Enqueue a copy from host memory to the GPU."""

    def copy_out(self, host_address: int, device_address: int, size: int, stream: int) -> None:
        """Enqueue a copy from GPU memory to the host."""

    def copy_across(self, target: int, source: int, size: int, stream: int) -> None:
        """Enqueue a copy within the GPU's memory."""

    def begin_capture(self, stream: int) -> None:
        """Record the work that this thread enqueues on a stream, instead of running it."""

    def end_capture(self, stream: int) -> int:
        """End the recording, also a failed one; returns the executable graph."""

    def launch(self, graph: int, stream: int) -> None:
        """Enqueue a recorded graph on a stream."""

    def destroy_graph(self, graph: int) -> None:
        """Destroy a graph from `end_capture`."""
