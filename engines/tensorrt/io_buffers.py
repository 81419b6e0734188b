"""The memory of one execution slot, allocated once for the largest shape of any profile."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.cuda.api import Cuda, HostBytes
from hrnet_deploy.engines.tensorrt.io_signature import Binding, Shape

_VIEWS = 64
"""Max number of cached views of pinned memory."""


class IoBuffers:
    """Device memory for each tensor of an engine, and pinned host memory for those that the host reads or writes.

    The addresses never change, so that recorded CUDA graphs stay valid. Pinned memory is allocated at first use: runs
    on GPU arrays need none.
    """

    def __init__(self, cuda: Cuda, sizes: Mapping[str, int], stream: int) -> None:
        self._cuda = cuda
        self._sizes = dict(sizes)
        self._stream = stream
        self._host: dict[str, HostBytes] = {}
        self._views: dict[tuple[str, Shape], NDArray[Any]] = {}
        self._host_addresses: dict[str, int] = {}
        self.addresses: dict[str, int] = {}
        with ExitStack() as stack:
            for name, size in self._sizes.items():
                address = self.addresses[name] = cuda.allocate(size)
                stack.callback(cuda.free, address)
            self._stack = stack.pop_all()

    def load(self, binding: Binding, array: NDArray[np.generic]) -> None:
        """Enqueue the copy of an input from host memory; any strides."""
        # The driver would copy pageable memory into pinned memory itself, in small pieces.
        view = self.host(binding, array.shape)
        np.copyto(view, array, casting="no")
        self._cuda.copy_in(self.addresses[binding.name], self._host_addresses[binding.name], view.nbytes, self._stream)

    def load_across(self, binding: Binding, address: int, size: int) -> None:
        """Enqueue the copy of an input from GPU memory."""
        self._cuda.copy_across(self.addresses[binding.name], address, size, self._stream)

    def store(self, binding: Binding, shape: Shape) -> None:
        """Enqueue the copy of an output to pinned memory; `host` holds it after the stream is synchronized."""
        size = self.host(binding, shape).nbytes
        self._cuda.copy_out(self._host_addresses[binding.name], self.addresses[binding.name], size, self._stream)

    def store_across(self, binding: Binding, address: int, shape: Shape) -> None:
        """Enqueue the copy of an output to other GPU memory."""
        self._cuda.copy_across(address, self.addresses[binding.name], binding.nbytes(shape), self._stream)

    def host(self, binding: Binding, shape: Shape) -> NDArray[Any]:
        """Return the pinned memory of a tensor as an array, which the next execution overwrites."""
        key = (binding.name, shape)
        view = self._views.get(key)
        if view is None:
            if len(self._views) >= _VIEWS:
                self._views.clear()
            view = self._pinned(binding.name)[: binding.nbytes(shape)].view(binding.dtype).reshape(shape)
            self._views[key] = view
        return view

    def close(self) -> None:
        """Free all memory."""
        self._views.clear()
        self._host.clear()
        self._stack.close()

    def _pinned(self, name: str) -> HostBytes:
        array = self._host.get(name)
        if array is None:
            array = self._host[name] = self._cuda.allocate_host(self._sizes[name])
            self._host_addresses[name] = array.ctypes.data
            self._stack.callback(self._cuda.free_host, array)
        return array
