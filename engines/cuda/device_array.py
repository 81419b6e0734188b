"""Results in GPU memory, and the pool of memory blocks that holds them."""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.cuda.api import LEGACY_STREAM, Cuda
from hrnet_deploy.engines.cuda.dlpack import make_capsule
from hrnet_deploy.errors import DeviceError, UsageError

_KEPT_BLOCKS = 16
_UNKNOWN_STREAM = -1
"""Stands for a reader whose stream is unknown."""
_KIND_CUDA = 2


class MemoryPool:
    """A pool of GPU memory for results, which reuses a block for the next array of its size.

    A reader's kernels may still run when its array dies. DLPack names the reader's stream. Readers on the legacy
    default stream (torch, CuPy and PyCUDA by default) are waited for. A block shared with another stream, or through
    `__cuda_array_interface__` with an unknown reader, is freed instead of reused: cudaFree waits for its readers.
    """

    def __init__(self, cuda: Cuda, device: int) -> None:
        self.cuda = cuda
        self.device = device
        self._free: deque[tuple[int, int]] = deque()
        # Arrays die at any time, also inside `acquire` in the same thread; appending to a deque needs no lock.
        self._returned: deque[tuple[int, int, bool]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def acquire(self, size: int, stream: int) -> int:
        """Return the address of a block that `stream` will write to."""
        with self._lock:
            self._collect(_KEPT_BLOCKS)
            for block in reversed(self._free):
                if block[0] == size:
                    self._free.remove(block)
                    self.cuda.wait(stream, LEGACY_STREAM)
                    return block[1]
            try:
                return self.cuda.allocate(size)
            except DeviceError:
                if not self._free:
                    raise
                self._collect(0)  # blocks of other sizes may hold the memory
                return self.cuda.allocate(size)

    def release(self, size: int, address: int, readers: Collection[int] = ()) -> None:
        """Return a block to the pool; safe in a finalizer. `readers` are streams that may still read it."""
        self._returned.append((size, address, bool(readers)))
        if self._closed:
            self._free_returned()

    def close(self) -> None:
        """Free all idle blocks; the others are freed when they are returned."""
        with self._lock:
            self._closed = True
            self._collect(0)

    def _collect(self, keep: int) -> None:
        """Collect returned blocks, and free the oldest beyond `keep`."""
        while self._returned:
            size, address, has_readers = self._returned.popleft()
            if has_readers:
                self.cuda.free(address)
            else:
                self._free.append((size, address))
        while len(self._free) > keep:
            self.cuda.free(self._free.popleft()[1])

    def _free_returned(self) -> None:
        # At the end of the process the driver, and with it the memory, may be gone.
        with suppress(DeviceError, IndexError), self.cuda.active(self.device):
            while self._returned:
                self.cuda.free(self._returned.popleft()[1])


class DeviceArray:
    """An array in GPU memory in C order; its values are complete.

    `torch.from_dlpack(array)` and `cupy.from_dlpack(array)` read it without a copy. `torch.as_tensor(array,
    device="cuda")` and `cupy.asarray(array)` do not copy either, but `__cuda_array_interface__` does not name the
    reader's stream: such memory is freed instead of reused, which costs a cudaMalloc. The memory is not reused before
    the array and all its readers are gone.
    """

    def __init__(self, pool: MemoryPool, shape: tuple[int, ...], dtype: np.dtype[Any], stream: int) -> None:
        """Allocate an array that `stream` will fill."""
        self.shape = shape
        self.dtype = dtype
        self.device = pool.device
        self.nbytes = math.prod(shape) * dtype.itemsize
        self.address = pool.acquire(self.nbytes, stream)
        self._pool = pool
        self._readers: set[int] = set()
        # At the end of the process the driver frees everything, possibly before this would run.
        weakref.finalize(self, pool.release, self.nbytes, self.address, self._readers).atexit = False

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """CUDA array interface, version 3, without a stream: the values are complete."""
        self._readers.add(_UNKNOWN_STREAM)
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": None,
        }

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if dl_device not in {None, self.__dlpack_device__()} or copy:
            raise BufferError("a GPU result is shared in place; copy it on the consumer's side")
        # The values are complete; the stream only tells who may still read after the array's end.
        if stream not in {None, -1, 0, LEGACY_STREAM}:
            self._readers.add(int(stream))
        return make_capsule(
            self, address=self.address, shape=self.shape, dtype=self.dtype, device=self.__dlpack_device__()
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return (_KIND_CUDA, self.device)

    def numpy(self) -> NDArray[np.generic]:
        """Return a copy in host memory."""
        result = np.empty(self.shape, self.dtype)
        cuda = self._pool.cuda
        with cuda.active(self.device):
            stream = cuda.stream()
            try:
                cuda.copy_out(result.ctypes.data, self.address, self.nbytes, stream)
                cuda.synchronize(stream)
            finally:
                cuda.destroy_stream(stream)
        return result

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.generic]:  # noqa: FBT001
        # np.asarray would otherwise create a 0-d array of objects.
        raise UsageError(f"a GPU result must be copied to be a NumPy array, got {self!r}. Call its numpy().")

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype.name}, device='cuda:{self.device}')"
