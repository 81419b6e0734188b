"""Runs of a bound session on GPU arrays, without copies to the host."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hrnet_deploy.engines.cuda.api import Cuda
from hrnet_deploy.engines.cuda.device_array import DeviceArray, MemoryPool
from hrnet_deploy.engines.cuda.device_view import is_device_array, view
from hrnet_deploy.engines.feed import check_array
from hrnet_deploy.engines.ort.io_binding import BoundSession, Buffers
from hrnet_deploy.engines.ort.session import DTYPES
from hrnet_deploy.spec import TensorSpec


class DeviceRunner:
    """Runs feeds in GPU memory; the outputs stay there."""

    def __init__(self, session: BoundSession, inputs: Sequence[TensorSpec], cuda: Cuda, device: int) -> None:
        """Create the stream of the copies; `session` must be bound on the same GPU."""
        self._session = session
        self._inputs = inputs
        self._cuda = cuda
        self._device = device
        self._pool = MemoryPool(cuda, device)
        self._lock = threading.Lock()
        with cuda.active(device):
            self._stream = cuda.stream()

    def run(self, feed: Mapping[str, Any]) -> dict[str, DeviceArray]:
        """Compute every output for one batch of GPU arrays or NumPy arrays."""
        with self._lock, self._cuda.active(self._device):
            # In the caller's thread, whose current stream fills its arrays.
            arrays = {
                name: view(value, name, cuda=self._cuda, device=self._device, stream=self._stream)
                if is_device_array(value)
                else np.ascontiguousarray(value)
                for name, value in feed.items()
            }
            for spec in self._inputs:
                check_array(spec, arrays[spec.name])
            return self._session.run_in_place(arrays, lambda b: self._fill(b, arrays), self._read)

    def close(self) -> None:
        """Free the memory that no result holds."""
        with self._cuda.active(self._device):
            self._cuda.destroy_stream(self._stream)
            self._pool.close()

    def _fill(self, buffers: Buffers, arrays: Mapping[str, Any]) -> None:
        # Called in the session's thread, which has its own current GPU; the same holds for `_read`.
        with self._cuda.active(self._device):
            for name, array in arrays.items():
                value = buffers.inputs[name]
                if isinstance(array, np.ndarray):
                    value.update_inplace(array)
                else:
                    # The session reads fixed addresses; a copy within the GPU costs microseconds.
                    self._cuda.copy_across(value.data_ptr(), array.address, value.tensor_size_in_bytes(), self._stream)
            self._cuda.synchronize(self._stream)

    def _read(self, buffers: Buffers) -> dict[str, DeviceArray]:
        outputs: dict[str, DeviceArray] = {}
        with self._cuda.active(self._device):
            for name, value in buffers.outputs.items():
                dtype = np.dtype(DTYPES[value.data_type()])
                array = DeviceArray(self._pool, tuple(value.shape()), dtype, self._stream)
                self._cuda.copy_across(array.address, value.data_ptr(), array.nbytes, self._stream)
                outputs[name] = array
            self._cuda.synchronize(self._stream)
        return outputs
