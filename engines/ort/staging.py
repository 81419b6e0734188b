"""Copies between host and GPU through pinned memory, which the GPU reads without the driver's own staging."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.cuda.api import Cuda, HostBytes
from hrnet_deploy.errors import DeviceError, MissingDependencyError

_LOG = logging.getLogger(__name__)


def open_staging(device: int, *, wanted: bool | None) -> PinnedStaging | None:
    """Pinned copies for a session.

    Args:
        device: index of the GPU.
        wanted: True to need them, False to have none; None where cuda-bindings finds the GPU.

    Returns:
        The copies; None without.

    Raises:
        MissingDependencyError: wanted, without cuda-bindings.
        DeviceError: wanted, and CUDA failed.
    """
    if wanted is False:
        return None
    try:
        from hrnet_deploy.engines.cuda.provider import open_cuda

        return PinnedStaging(open_cuda("cuda-python"), device)
    except (DeviceError, MissingDependencyError) as error:
        if wanted:
            raise
        _LOG.info("copies go through ONNX Runtime: %s", error)
        return None


class PinnedStaging:
    """Pinned memory for each input and output of a session, as large as the largest seen so far."""

    def __init__(self, cuda: Cuda, device: int) -> None:
        """Make the stream of the copies.

        Args:
            cuda: the provider.
            device: index of the GPU.

        Raises:
            DeviceError: CUDA failed.
        """
        self._cuda = cuda
        self._device = device
        self._host: dict[str, HostBytes] = {}
        with cuda.active(device):
            self._stream = cuda.stream()
        # For a session that nobody closes; at the end of the process the driver frees everything.
        self._finalizer = weakref.finalize(self, _release, cuda, device, self._host, self._stream)
        self._finalizer.atexit = False

    def load(self, targets: Mapping[str, Any], feed: Mapping[str, NDArray[np.generic]]) -> None:
        """Copy inputs to the GPU, and wait until they are there.

        Args:
            targets: ONNX Runtime's values on the GPU, by input.
            feed: arrays of the same shapes and types, by input; any strides.

        Raises:
            DeviceError: no memory, or a copy failed.
        """
        with self._cuda.active(self._device):
            for name, array in feed.items():
                if array.size:
                    host = self._pinned(name, array.nbytes)
                    np.copyto(host[: array.nbytes].view(array.dtype).reshape(array.shape), array, casting="no")
                    self._cuda.copy_in(targets[name].data_ptr(), host.ctypes.data, array.nbytes, self._stream)
            self._cuda.synchronize(self._stream)

    def store(self, sources: Mapping[str, Any], dtypes: Mapping[str, str]) -> dict[str, NDArray[np.generic]]:
        """Copy outputs to the host.

        Args:
            sources: ONNX Runtime's values on the GPU, by output.
            dtypes: NumPy's names of their types, by output.

        Returns:
            Fresh arrays by output.

        Raises:
            DeviceError: no memory, or a copy failed.
        """
        views: dict[str, NDArray[np.generic]] = {}
        with self._cuda.active(self._device):
            for name, value in sources.items():
                dtype, shape = np.dtype(dtypes[name]), tuple(value.shape())
                size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
                host = self._pinned(name, size)
                if size:
                    self._cuda.copy_out(host.ctypes.data, value.data_ptr(), size, self._stream)
                views[name] = host[:size].view(dtype).reshape(shape)
            self._cuda.synchronize(self._stream)
        # The next run overwrites the pinned memory.
        return {name: view.copy() for name, view in views.items()}

    def close(self) -> None:
        """Give the memory and the stream back."""
        self._finalizer()

    def _pinned(self, name: str, size: int) -> HostBytes:
        """At least so many bytes; nothing is under way in them, as every copy is waited for."""
        host = self._host.get(name)
        if host is None or host.nbytes < size:
            if host is not None:
                self._cuda.free_host(self._host.pop(name))
            host = self._host[name] = self._cuda.allocate_host(size)
        return host


def _release(cuda: Cuda, device: int, host: dict[str, HostBytes], stream: int) -> None:
    # The driver may be gone already; then the memory is, too.
    with suppress(DeviceError), cuda.active(device):
        while host:
            cuda.free_host(host.popitem()[1])
        cuda.destroy_stream(stream)
