"""The memory of one execution lane: allocated once, at the largest shape any profile allows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.cuda.api import Cuda, HostBytes
from hrnet_deploy.engines.tensorrt.io_signature import Binding, Shape

_VIEWS = 64
"""Views of pinned memory kept, so that a shape seen before costs no new ones."""


class IoBuffers:
    """Device memory for every tensor of an engine, and pinned host memory for those that the host touches.

    The addresses never change, so a CUDA graph recorded with them stays valid. The pinned side is allocated when the
    host first needs it: whoever feeds GPU arrays never pays for it.
    """

    def __init__(self, cuda: Cuda, sizes: Mapping[str, int], stream: int) -> None:
        """Allocate the device side.

        Args:
            cuda: the provider, its GPU current.
            sizes: bytes of each tensor.
            stream: what copies are put on.

        Raises:
            DeviceError: no memory; what was allocated is free again.
        """
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
        """Put an input from host memory on its way; any strides.

        Args:
            binding: the input.
            array: its values, of its type.

        Raises:
            DeviceError: the copy failed, or there is no pinned memory.
        """
        # The copy into pinned memory is what the GPU's driver would do by itself, one small piece at a time.
        view = self.host(binding, array.shape)
        np.copyto(view, array, casting="no")
        self._cuda.copy_in(self.addresses[binding.name], self._host_addresses[binding.name], view.nbytes, self._stream)

    def load_across(self, binding: Binding, address: int, size: int) -> None:
        """Put an input from GPU memory on its way.

        Args:
            binding: the input.
            address: of its first byte.
            size: bytes.

        Raises:
            DeviceError: the copy failed.
        """
        self._cuda.copy_across(self.addresses[binding.name], address, size, self._stream)

    def store(self, binding: Binding, shape: Shape) -> None:
        """Put an output on its way to pinned memory; `host` shows it once the stream has been waited for.

        Args:
            binding: the output.
            shape: of this execution.

        Raises:
            DeviceError: the copy failed, or there is no pinned memory.
        """
        size = self.host(binding, shape).nbytes
        self._cuda.copy_out(self._host_addresses[binding.name], self.addresses[binding.name], size, self._stream)

    def store_across(self, binding: Binding, address: int, shape: Shape) -> None:
        """Put an output on its way to other GPU memory.

        Args:
            binding: the output.
            address: where to.
            shape: of this execution.

        Raises:
            DeviceError: the copy failed.
        """
        self._cuda.copy_across(address, self.addresses[binding.name], binding.nbytes(shape), self._stream)

    def host(self, binding: Binding, shape: Shape) -> NDArray[Any]:
        """The pinned memory of a tensor as an array; overwritten by the next execution.

        Args:
            binding: the tensor.
            shape: within the allocated size.

        Returns:
            A view.

        Raises:
            DeviceError: there is no pinned memory.
        """
        key = (binding.name, shape)
        view = self._views.get(key)
        if view is None:
            if len(self._views) >= _VIEWS:
                self._views.clear()
            view = self._pinned(binding.name)[: binding.nbytes(shape)].view(binding.dtype).reshape(shape)
            self._views[key] = view
        return view

    def close(self) -> None:
        """Free everything, once."""
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
