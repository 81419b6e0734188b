"""CUDA through NVIDIA's own bindings (package cuda-bindings, runtime API)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from cuda.bindings import runtime

from hrnet_deploy.engines.cuda.api import HostBytes
from hrnet_deploy.engines.cuda.errors import allocation_failure, call_failure
from hrnet_deploy.errors import DeviceError

_NO_GPU = ("cudaErrorInsufficientDriver", "cudaErrorNoDevice", "cudaErrorStubLibrary", "cudaErrorInitializationError")


class CudaPython:
    """The provider on `cuda.bindings.runtime`; its calls return error codes and load no driver by themselves."""

    name = "cuda-python"

    def device_count(self) -> int:
        """How many GPUs there are; 0 without a driver.

        Raises:
            DeviceError: there is a driver and it fails.
        """
        error, *values = runtime.cudaGetDeviceCount()
        if error == runtime.cudaError_t.cudaSuccess:
            return int(values[0])
        if error.name in _NO_GPU:
            return 0
        raise call_failure("cudaGetDeviceCount", error.name)

    def capability(self, device: int) -> str:
        """Compute capability, such as "sm90"."""
        kind = runtime.cudaDeviceAttr
        major = _done("cudaDeviceGetAttribute", kind.cudaDevAttrComputeCapabilityMajor, device)
        minor = _done("cudaDeviceGetAttribute", kind.cudaDevAttrComputeCapabilityMinor, device)
        return f"sm{major}{minor}"

    def device_name(self, device: int) -> str:
        """Name, such as "Tesla T4"."""
        name = _done("cudaGetDeviceProperties", device).name
        return (name.decode() if isinstance(name, bytes) else str(name)).rstrip("\0")

    def memory_info(self, device: int) -> tuple[int, int]:
        """Free and total bytes."""
        with self.active(device):
            free, total = _done("cudaMemGetInfo")
        return int(free), int(total)

    def activate(self, device: int) -> None:
        """Make a GPU current in this thread."""
        _done("cudaSetDevice", device)

    @contextmanager
    def active(self, device: int) -> Iterator[None]:
        """Make a GPU current in this thread for a block."""
        # The caller's framework keeps its own current GPU in the same place, so it is put back.
        before = int(_done("cudaGetDevice"))
        _done("cudaSetDevice", device)
        try:
            yield
        finally:
            if before != device:
                _done("cudaSetDevice", before)

    def allocate(self, size: int) -> int:
        """Bytes on the current GPU."""
        error, *values = runtime.cudaMalloc(max(size, 1))
        if error != runtime.cudaError_t.cudaSuccess:
            runtime.cudaGetLastError()  # a failed allocation harms nothing; later calls shall not report it again
            raise allocation_failure(size, error.name, _free_bytes())
        return int(values[0])

    def free(self, address: int) -> None:
        """Give device memory back."""
        _done("cudaFree", address)

    def allocate_host(self, size: int) -> HostBytes:
        """Pinned host memory."""
        error, *values = runtime.cudaHostAlloc(max(size, 1), runtime.cudaHostAllocDefault)
        if error != runtime.cudaError_t.cudaSuccess:
            runtime.cudaGetLastError()
            raise allocation_failure(size, error.name, None, pinned=True)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(values[0])))

    def free_host(self, array: HostBytes) -> None:
        """Give pinned memory back."""
        _done("cudaFreeHost", array.ctypes.data)

    def stream(self) -> int:
        """A new non-blocking stream."""
        return int(_done("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back."""
        _done("cudaStreamDestroy", stream)

    def synchronize(self, stream: int) -> None:
        """Wait for a stream."""
        _done("cudaStreamSynchronize", stream)

    def wait(self, stream: int, other: int) -> None:
        """Order a stream behind another."""
        event = _done("cudaEventCreateWithFlags", runtime.cudaEventDisableTiming)
        try:
            _done("cudaEventRecord", event, other)
            _done("cudaStreamWaitEvent", stream, event, 0)
        finally:
            # CUDA keeps a destroyed event until what waits for it has seen it.
            _done("cudaEventDestroy", event)

    def copy_in(self, device_address: int, host_address: int, size: int, stream: int) -> None:
        """Copy host memory to the GPU."""
        _copy(device_address, host_address, size, runtime.cudaMemcpyKind.cudaMemcpyHostToDevice, stream)

    def copy_out(self, host_address: int, device_address: int, size: int, stream: int) -> None:
        """Copy GPU memory to the host."""
        _copy(host_address, device_address, size, runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost, stream)

    def copy_across(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy within GPU memory."""
        _copy(target, source, size, runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice, stream)

    def begin_capture(self, stream: int) -> None:
        """Record a stream."""
        # Thread-local: other threads, ours and the user's, may go on allocating meanwhile.
        _done("cudaStreamBeginCapture", stream, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)

    def end_capture(self, stream: int) -> int:
        """End the recording."""
        recorded = _done("cudaStreamEndCapture", stream)
        if not int(recorded):
            raise call_failure("cudaStreamEndCapture", "no graph: the capture was invalidated")
        try:
            return int(_instantiated(recorded))
        finally:
            _done("cudaGraphDestroy", recorded)

    def launch(self, graph: int, stream: int) -> None:
        """Run a recorded graph."""
        _done("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """Give a graph back."""
        _done("cudaGraphExecDestroy", graph)


def _done(call: str, *arguments: Any) -> Any:
    """Result of a call: None, one value or a tuple of them; what failed is raised."""
    error, *values = getattr(runtime, call)(*arguments)
    if error != runtime.cudaError_t.cudaSuccess:
        raise call_failure(call, error.name)
    return values[0] if len(values) == 1 else tuple(values) or None


def _copy(target: int, source: int, size: int, kind: Any, stream: int) -> None:
    # Spelt out: this is the one call that every run makes several times.
    (error,) = runtime.cudaMemcpyAsync(target, source, size, kind, stream)
    if error != runtime.cudaError_t.cudaSuccess:
        raise call_failure("cudaMemcpyAsync", error.name)


def _instantiated(recorded: Any) -> Any:
    """An executable graph: (graph, flags) since CUDA 12, (graph, log buffer, its size) before."""
    try:
        return _done("cudaGraphInstantiate", recorded, 0)
    except TypeError:
        return _done("cudaGraphInstantiate", recorded, b"", 0)[0]


def _free_bytes() -> int | None:
    with suppress(DeviceError):
        return int(_done("cudaMemGetInfo")[0])
    return None
