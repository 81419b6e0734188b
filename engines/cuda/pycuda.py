"""CUDA through PyCUDA, in the context that its user already has.

PyCUDA cannot record streams, so engines run without CUDA graphs here; cuda-python is the faster provider.

Source: PyCUDA's reference of the device interface (documen.tician.de/pycuda/driver.html) and its wrapper
(src/wrapper/wrap_cudadrv.cpp).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from pycuda import driver

from hrnet_deploy.engines.cuda.api import LEGACY_STREAM, HostBytes
from hrnet_deploy.engines.cuda.errors import allocation_failure, call_failure
from hrnet_deploy.errors import DeviceError, one_line

_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING of the driver API, for which PyCUDA has no name."""


class PyCuda:
    """Provider on `pycuda.driver`."""

    name = "pycuda"

    def __init__(self) -> None:
        """Take over the PyCUDA context that is current in this thread, if there is one."""
        self._driver_failure = ""
        self._owned: dict[int, Any] = {}  # PyCUDA frees what has no reference
        self._contexts: dict[int, Any] = {}
        self._lock = threading.Lock()
        try:
            driver.init()
        except driver.Error as error:
            self._driver_failure = _reason(error)
            return
        current = driver.Context.get_current()
        if current is not None:
            device = driver.Context.get_device()
            self._contexts[next(i for i in range(driver.Device.count()) if driver.Device(i) == device)] = current

    def device_count(self) -> int:
        return 0 if self._driver_failure else int(_call("cuDeviceGetCount", driver.Device.count))

    def capability(self, device: int) -> str:
        major, minor = _call("cuDeviceGetAttribute", driver.Device(device).compute_capability)
        return f"sm{major}{minor}"

    def device_name(self, device: int) -> str:
        return str(_call("cuDeviceGetName", driver.Device(device).name))

    def memory_info(self, device: int) -> tuple[int, int]:
        with self.active(device):
            free, total = _call("cuMemGetInfo", driver.mem_get_info)
        return int(free), int(total)

    def activate(self, device: int) -> None:
        if not self._is_current(device):
            _call("cuCtxPushCurrent", self._context(device).push)

    @contextmanager
    def active(self, device: int) -> Iterator[None]:
        if self._is_current(device):
            yield
            return
        _call("cuCtxPushCurrent", self._context(device).push)
        try:
            yield
        finally:
            driver.Context.pop()

    def allocate(self, size: int) -> int:
        try:
            memory = driver.mem_alloc(max(size, 1))
        except driver.Error as error:
            raise allocation_failure(size, _reason(error), _free_bytes()) from error
        return self._keep(int(memory), memory)

    def free(self, address: int) -> None:
        _call("cuMemFree", self._owned.pop(address).free)

    def allocate_host(self, size: int) -> HostBytes:
        try:
            array: HostBytes = driver.pagelocked_empty(max(size, 1), np.uint8)
        except driver.Error as error:
            raise allocation_failure(size, _reason(error), None, pinned=True) from error
        self._keep(array.ctypes.data, array)
        return array[:size]

    def free_host(self, array: HostBytes) -> None:
        _call("cuMemFreeHost", self._owned.pop(array.ctypes.data).base.free)

    def stream(self) -> int:
        stream = _call("cuStreamCreate", driver.Stream, _NON_BLOCKING)
        return self._keep(int(stream.handle), stream)

    def destroy_stream(self, stream: int) -> None:
        del self._owned[stream]  # PyCUDA destroys it with its last reference

    def synchronize(self, stream: int) -> None:
        _call("cuStreamSynchronize", self._owned[stream].synchronize)

    def wait(self, stream: int, other: int) -> None:
        if other != LEGACY_STREAM and other not in self._owned:
            # PyCUDA cannot address a stream of others, so the host waits for all work.
            _call("cuCtxSynchronize", driver.Context.synchronize)
            return
        event = _call("cuEventCreate", driver.Event, driver.event_flags.DISABLE_TIMING)
        _call("cuEventRecord", event.record, None if other == LEGACY_STREAM else self._owned[other])
        _call("cuStreamWaitEvent", self._owned[stream].wait_for_event, event)

    def copy_in(self, device_address: int, host_address: int, size: int, stream: int) -> None:
        source = _bytes_at(host_address, size)
        _call("cuMemcpyHtoDAsync", driver.memcpy_htod_async, device_address, source, self._owned[stream])

    def copy_out(self, host_address: int, device_address: int, size: int, stream: int) -> None:
        target = _bytes_at(host_address, size)
        _call("cuMemcpyDtoHAsync", driver.memcpy_dtoh_async, target, device_address, self._owned[stream])

    def copy_across(self, target: int, source: int, size: int, stream: int) -> None:
        _call("cuMemcpyDtoDAsync", driver.memcpy_dtod_async, target, source, size, self._owned[stream])

    def begin_capture(self, *_: Any, **__: Any) -> Any:
        raise DeviceError("CUDA graphs need a provider that records streams, got PyCUDA. Use cuda-python for them.")

    end_capture = launch = begin_capture

    def destroy_graph(self, graph: int) -> None:
        """Do nothing: there are no graphs."""

    def _keep(self, handle: int, owner: Any) -> int:
        self._owned[handle] = owner
        return handle

    def _context(self, device: int) -> Any:
        """Return the context of our allocations on this GPU: the user's, else the primary one."""
        if self._driver_failure:
            raise call_failure("cuInit", self._driver_failure)
        with self._lock:
            if device not in self._contexts:
                # torch, TensorRT and the runtime API use the primary context.
                owner = driver.Device(device)
                self._contexts[device] = _call("cuDevicePrimaryCtxRetain", owner.retain_primary_context)
            return self._contexts[device]

    def _is_current(self, device: int) -> bool:
        current = None if self._driver_failure else driver.Context.get_current()
        return current is not None and current == self._context(device)


def _call(call: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except driver.Error as error:
        raise call_failure(call, _reason(error)) from error


def _reason(error: Exception) -> str:
    """Return PyCUDA's message without the call: "cuMemAlloc failed: out of memory" gives "out of memory"."""
    return one_line(error).split(" failed: ")[-1]


def _bytes_at(address: int, size: int) -> HostBytes:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def _free_bytes() -> int | None:
    with suppress(DeviceError):
        return int(_call("cuMemGetInfo", driver.mem_get_info)[0])
    return None
