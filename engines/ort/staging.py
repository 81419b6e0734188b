"""Copies between host and GPU through pinned memory, which need no staging by the driver."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.cuda.api import Cuda, HostBytes
from hrnet_deploy.engines.ort.session import DTYPES
from hrnet_deploy.errors import DeviceError, MissingDependencyError

_LOG = logging.getLogger(__name__)


def open_staging(device: int, *, wanted: bool | None) -> PinnedStaging | None:
    """Open pinned copies for a session; None where they are not `wanted` or cuda-bindings finds no GPU."""
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
    """Pinned memory for each input and output of a session, which grows to the largest size."""

    def __init__(self, cuda: Cuda, device: int) -> None:
        """Create the stream of the copies."""
        self._cuda = cuda
        self._device = device
        self._host: dict[str, HostBytes] = {}
        with cuda.active(device):
            self._stream = cuda.stream()
        # Releases sessions without a `close`; at the end of the process the driver frees everything.
        self._finalizer = weakref.finalize(self, _release, cuda, device, self._host, self._stream)
        self._finalizer.atexit = False

    def load(self, targets: Mapping[str, Any], feed: Mapping[str, NDArray[np.generic]]) -> None:
        """Copy inputs of any strides to the GPU, and wait for the copies."""
        with self._cuda.active(self._device):
            for name, array in feed.items():
                if array.size:
                    host = self._pinned(name, array.nbytes)
                    np.copyto(host[: array.nbytes].view(array.dtype).reshape(array.shape), array, casting="no")
                    self._cuda.copy_in(targets[name].data_ptr(), host.ctypes.data, array.nbytes, self._stream)
            self._cuda.synchronize(self._stream)

    def store(self, sources: Mapping[str, Any]) -> dict[str, NDArray[np.generic]]:
        """Copy outputs to fresh arrays on the host."""
        views: dict[str, NDArray[np.generic]] = {}
        with self._cuda.active(self._device):
            for name, value in sources.items():
                dtype, shape = np.dtype(DTYPES[value.data_type()]), tuple(value.shape())
                size = math.prod(shape) * dtype.itemsize
                host = self._pinned(name, size)
                if size:
                    self._cuda.copy_out(host.ctypes.data, value.data_ptr(), size, self._stream)
                views[name] = host[:size].view(dtype).reshape(shape)
            self._cuda.synchronize(self._stream)
        # The next run overwrites the pinned memory.
        return {name: view.copy() for name, view in views.items()}

    def close(self) -> None:
        """Release the memory and the stream."""
        self._finalizer()

    def _pinned(self, name: str, size: int) -> HostBytes:
        """Return at least `size` pinned bytes, which no copy uses: each copy is waited for."""
        host = self._host.get(name)
        if host is None or host.nbytes < size:
            if host is not None:
                self._cuda.free_host(self._host.pop(name))
            host = self._host[name] = self._cuda.allocate_host(size)
        return host


def _release(cuda: Cuda, device: int, host: dict[str, HostBytes], stream: int) -> None:
    # Without the driver the memory is gone as well.
    with suppress(DeviceError), cuda.active(device):
        while host:
            cuda.free_host(host.popitem()[1])
        cuda.destroy_stream(stream)
