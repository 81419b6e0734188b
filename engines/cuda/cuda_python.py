"""CUDA through NVIDIA's bindings (package cuda-bindings, runtime API)."""

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
    """Provider on `cuda.bindings.runtime`, whose calls return error codes and work without a driver."""

    name = "cuda-python"

    def device_count(self) -> int:
        error, *values = runtime.cudaGetDeviceCount()
        if error == runtime.cudaError_t.cudaSuccess:
            return int(values[0])
        if error.name in _NO_GPU:
            return 0
        raise call_failure("cudaGetDeviceCount", error.name)

    def capability(self, device: int) -> str:
        kind = runtime.cudaDeviceAttr
        major = _call("cudaDeviceGetAttribute", kind.cudaDevAttrComputeCapabilityMajor, device)
        minor = _call("cudaDeviceGetAttribute", kind.cudaDevAttrComputeCapabilityMinor, device)
        return f"sm{major}{minor}"

    def device_name(self, device: int) -> str:
        name = _call("cudaGetDeviceProperties", device).name
        return (name.decode() if isinstance(name, bytes) else str(name)).rstrip("\0")

    def memory_info(self, device: int) -> tuple[int, int]:
        with self.active(device):
            free, total = _call("cudaMemGetInfo")
        return int(free), int(total)

    def activate(self, device: int) -> None:
        _call("cudaSetDevice", device)

    @contextmanager
    def active(self, device: int) -> Iterator[None]:
        # The caller's framework keeps its current GPU in the same place, so it is restored.
        before = int(_call("cudaGetDevice"))
        _call("cudaSetDevice", device)
        try:
            yield
        finally:
            if before != device:
                _call("cudaSetDevice", before)

    def allocate(self, size: int) -> int:
        return _allocated(size, *runtime.cudaMalloc(max(size, 1)))

    def free(self, address: int) -> None:
        _call("cudaFree", address)

    def allocate_host(self, size: int) -> HostBytes:
        address = _allocated(size, *runtime.cudaHostAlloc(max(size, 1), runtime.cudaHostAllocDefault), pinned=True)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_host(self, array: HostBytes) -> None:
        _call("cudaFreeHost", array.ctypes.data)

    def stream(self) -> int:
        return int(_call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        _call("cudaStreamDestroy", stream)

    def synchronize(self, stream: int) -> None:
        _call("cudaStreamSynchronize", stream)

    def wait(self, stream: int, other: int) -> None:
        event = _call("cudaEventCreateWithFlags", runtime.cudaEventDisableTiming)
        try:
            _call("cudaEventRecord", event, other)
            _call("cudaStreamWaitEvent", stream, event, 0)
        finally:
            # CUDA keeps a destroyed event until what waits for it has seen it.
            _call("cudaEventDestroy", event)

    def copy_in(self, device_address: int, host_address: int, size: int, stream: int) -> None:
        _copy(device_address, host_address, size, runtime.cudaMemcpyKind.cudaMemcpyHostToDevice, stream)

    def copy_out(self, host_address: int, device_address: int, size: int, stream: int) -> None:
        _copy(host_address, device_address, size, runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost, stream)

    def copy_across(self, target: int, source: int, size: int, stream: int) -> None:
        _copy(target, source, size, runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice, stream)

    def begin_capture(self, stream: int) -> None:
        # Thread-local, so that other threads may allocate meanwhile.
        _call("cudaStreamBeginCapture", stream, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)

    def end_capture(self, stream: int) -> int:
        recorded = _call("cudaStreamEndCapture", stream)
        if not int(recorded):
            raise call_failure("cudaStreamEndCapture", "no graph: the capture was invalidated")
        try:
            return int(_instantiate(recorded))
        finally:
            _call("cudaGraphDestroy", recorded)

    def launch(self, graph: int, stream: int) -> None:
        _call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        _call("cudaGraphExecDestroy", graph)


def _call(call: str, *arguments: Any) -> Any:
    """Call the runtime and return None, one value or a tuple; a failure is raised."""
    error, *values = getattr(runtime, call)(*arguments)
    if error != runtime.cudaError_t.cudaSuccess:
        raise call_failure(call, error.name)
    return values[0] if len(values) == 1 else tuple(values) or None


def _allocated(size: int, error: Any, *address: Any, pinned: bool = False) -> int:
    if error != runtime.cudaError_t.cudaSuccess:
        runtime.cudaGetLastError()  # clears the error, which later calls would report again
        raise allocation_failure(size, error.name, None if pinned else _free_bytes(), pinned=pinned)
    return int(address[0])


def _copy(target: int, source: int, size: int, kind: Any, stream: int) -> None:
    # Without `_call`: every run makes this call several times.
    (error,) = runtime.cudaMemcpyAsync(target, source, size, kind, stream)
    if error != runtime.cudaError_t.cudaSuccess:
        raise call_failure("cudaMemcpyAsync", error.name)


def _instantiate(recorded: Any) -> Any:
    """Instantiate a graph: the arguments are (graph, flags) since CUDA 12, (graph, log buffer, its size) before."""
    try:
        return _call("cudaGraphInstantiate", recorded, 0)
    except TypeError:
        return _call("cudaGraphInstantiate", recorded, b"", 0)[0]


def _free_bytes() -> int | None:
    with suppress(DeviceError):
        return int(_call("cudaMemGetInfo")[0])
    return None
