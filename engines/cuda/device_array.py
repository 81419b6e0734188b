"""Results that stay on the GPU, and the blocks of memory they live in."""

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
"""A reader that did not say on which stream it reads."""
_KIND_CUDA = 2


class MemoryPool:
    """GPU memory for results: a block whose array is gone serves the next one of its size, without a cudaMalloc.

    A reader may still be at work on the GPU when its array dies. One on the legacy default stream, where torch, CuPy
    and PyCUDA compute unless told otherwise, is waited for where DLPack says that it reads there. A block that DLPack
    shared with another stream, or `__cuda_array_interface__` with a reader that it cannot know, is never lent again
    but freed, for which CUDA waits by itself.
    """

    def __init__(self, cuda: Cuda, device: int) -> None:
        self.cuda = cuda
        self.device = device
        self._free: deque[tuple[int, int]] = deque()
        # Arrays die at any time, also inside `take` in this very thread; appending to a deque needs no lock.
        self._returned: deque[tuple[int, int, bool]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def take(self, size: int, stream: int) -> int:
        """Lend a block.

        Args:
            size: bytes.
            stream: what will write to it.

        Returns:
            Its address; give it back with `give`.

        Raises:
            DeviceError: no memory.
        """
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
                self._collect(0)  # other sizes may be what is in the way
                return self.cuda.allocate(size)

    def give(self, size: int, address: int, readers: Collection[int] = ()) -> None:
        """Take a block back; safe in a finaliser.

        Args:
            size: bytes.
            address: what `take` returned.
            readers: streams that may still read it, besides the legacy default one.
        """
        self._returned.append((size, address, bool(readers)))
        if self._closed:
            self._release_late()

    def close(self) -> None:
        """Free what is here; blocks still lent are freed when they come back."""
        with self._lock:
            self._closed = True
            self._collect(0)

    def _collect(self, keep: int) -> None:
        """Take in what came back, and free the oldest beyond `keep`."""
        while self._returned:
            size, address, has_readers = self._returned.popleft()
            if has_readers:
                self.cuda.free(address)
            else:
                self._free.append((size, address))
        while len(self._free) > keep:
            self.cuda.free(self._free.popleft()[1])

    def _release_late(self) -> None:
        # The process may be ending and the driver gone; then the memory is, too.
        with suppress(DeviceError, IndexError), self.cuda.active(self.device):
            while self._returned:
                self.cuda.free(self._returned.popleft()[1])


class DeviceArray:
    """An array in GPU memory, in C order, complete when it is returned.

    Read it with `torch.from_dlpack(array)` or `cupy.from_dlpack(array)`, which do not copy. `torch.as_tensor(array,
    device="cuda")` and `cupy.asarray(array)` do not copy either, but they take `__cuda_array_interface__`, which
    cannot tell the reader's stream: the memory of such an array is freed after it instead of serving the next one, at
    the cost of a cudaMalloc. Its memory is its own until it and every reader of it are gone.

    Attributes:
        shape: one entry a dimension.
        dtype: NumPy type of the elements.
        address: of the first element in GPU memory.
        device: index of the GPU.
    """

    def __init__(self, blocks: MemoryPool, shape: tuple[int, ...], dtype: np.dtype[Any], stream: int) -> None:
        """Take memory.

        Args:
            blocks: where from.
            shape: one entry a dimension.
            dtype: of the elements.
            stream: what will fill it; it must be waited for before the array is handed out.

        Raises:
            DeviceError: no memory.
        """
        self.shape = shape
        self.dtype = dtype
        self.device = blocks.device
        self.nbytes = math.prod(shape) * dtype.itemsize
        self.address = blocks.take(self.nbytes, stream)
        self._blocks = blocks
        self._readers: set[int] = set()
        # At the end of the process the driver frees everything, and may be gone before this would run.
        weakref.finalize(self, blocks.give, self.nbytes, self.address, self._readers).atexit = False

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3; no stream, because nothing is left to wait for."""
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
        # Nothing is left to wait for; the stream only says who may still read when the array is gone.
        if stream not in {None, -1, 0, LEGACY_STREAM}:
            self._readers.add(int(stream))
        return make_capsule(
            self, address=self.address, shape=self.shape, dtype=self.dtype, device=self.__dlpack_device__()
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return (_KIND_CUDA, self.device)

    def numpy(self) -> NDArray[np.generic]:
        """A copy in host memory.

        Returns:
            An array of the same shape and type.

        Raises:
            DeviceError: CUDA failed.
        """
        result = np.empty(self.shape, self.dtype)
        cuda = self._blocks.cuda
        with cuda.active(self.device):
            stream = cuda.stream()
            try:
                cuda.copy_out(result.ctypes.data, self.address, self.nbytes, stream)
                cuda.synchronize(stream)
            finally:
                cuda.destroy_stream(stream)
        return result

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.generic]:  # noqa: FBT001
        # np.asarray would otherwise make a 0-d array of objects, or copy in silence where speed was wanted.
        raise UsageError(f"a GPU result must be copied to be a NumPy array, got {self!r}. Call its numpy().")

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype.name}, device='cuda:{self.device}')"
