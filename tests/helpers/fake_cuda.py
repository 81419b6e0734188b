"""A GPU without one: memory, streams, events and graphs of the `Cuda` protocol on the CPU."""

import contextlib
import ctypes
import itertools
import threading
from collections import Counter

import numpy as np

from hrnet_deploy.engines.cuda.errors import allocation_failure, call_failure


def array_at(address, shape, dtype):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)


class FakeCuda:
    """CUDA as the protocol describes it. Nothing runs before its stream is waited for, so a missing wait shows."""

    name = "fake"

    def __init__(self, devices=1, memory=1 << 30):
        self.devices = devices
        self.total = memory
        self.live = {}
        self.live_host = {}
        self.streams = {}
        self.graphs = {}
        self.calls = Counter()
        self.failures = Counter()
        self.waits = []
        self.current = threading.local()
        self.handles = itertools.count(100)
        self.captures = {}
        self.lock = threading.RLock()

    def _count(self, call):
        with self.lock:
            self.calls[call] += 1
            if self.failures[call] > 0:
                self.failures[call] -= 1
                raise call_failure(call, "cudaErrorUnknown")

    @property
    def leftovers(self):
        return len(self.live) + len(self.live_host) + len(self.streams) + len(self.graphs)

    def device_count(self):
        return self.devices

    def capability(self, device):
        return "sm90"

    def device_name(self, device):
        return "Fake GPU"

    def memory_info(self, device):
        return self.total - sum(len(block) for block in self.live.values()), self.total

    def activate(self, device):
        self.current.device = device

    @contextlib.contextmanager
    def active(self, device):
        before = getattr(self.current, "device", None)
        self.current.device = device
        try:
            yield
        finally:
            self.current.device = before

    def _on_gpu(self):
        assert getattr(self.current, "device", None) is not None, "no GPU is current in this thread"
        assert threading.get_ident() not in self.captures.values(), "not permitted while a stream is captured"

    def allocate(self, size):
        self._on_gpu()
        self._count("allocate")
        with self.lock:
            free, _ = self.memory_info(0)
            if size > free:
                raise allocation_failure(size, "cudaErrorMemoryAllocation", free)
            block = (ctypes.c_uint8 * max(size, 1))()
            ctypes.memset(block, 0xA5, max(size, 1))
            self.live[ctypes.addressof(block)] = block
            return ctypes.addressof(block)

    def free(self, address):
        self._count("free")
        with self.lock:
            for stream in self.streams:
                self._drain(stream)  # as cudaFree does
            del self.live[address]

    def allocate_host(self, size):
        self._on_gpu()
        self._count("allocate_host")
        array = np.full(size, 0x5A, np.uint8)
        with self.lock:
            self.live_host[array.ctypes.data] = array
        return array

    def free_host(self, array):
        with self.lock:
            del self.live_host[array.ctypes.data]

    def stream(self):
        self._on_gpu()
        self._count("stream")
        with self.lock:
            handle = next(self.handles)
            self.streams[handle] = []
            return handle

    def destroy_stream(self, stream):
        with self.lock:
            del self.streams[stream]

    def put(self, stream, work):
        """Enqueue, or record."""
        self.streams[stream].append(work)

    def _drain(self, stream):
        if stream in self.captures:
            return
        work, self.streams[stream][:] = list(self.streams[stream]), []
        for step in work:
            step()

    def synchronize(self, stream):
        self._on_gpu()
        self._count("synchronize")
        self._drain(stream)

    def wait(self, stream, other):
        assert stream in self.streams
        self.waits.append((stream, other))

    def _copy(self, call, target, source, size, stream):
        self._count(call)
        self.put(stream, lambda: ctypes.memmove(target, source, size))

    def copy_in(self, device_address, host_address, size, stream):
        assert host_address in self.live_host
        self._copy("copy_in", device_address, host_address, size, stream)

    def copy_out(self, host_address, device_address, size, stream):
        self._copy("copy_out", host_address, device_address, size, stream)

    def copy_across(self, target, source, size, stream):
        self._copy("copy_across", target, source, size, stream)

    def begin_capture(self, stream):
        self._count("begin_capture")
        assert not self.streams[stream], "the fake captures idle streams only"
        self.captures[stream] = threading.get_ident()

    def end_capture(self, stream):
        assert self.captures.pop(stream) == threading.get_ident()
        work, self.streams[stream][:] = list(self.streams[stream]), []
        self._count("end_capture")
        with self.lock:
            handle = next(self.handles)
            self.graphs[handle] = work
            return handle

    def launch(self, graph, stream):
        self._count("launch")
        for step in self.graphs[graph]:
            self.put(stream, step)

    def destroy_graph(self, graph):
        with self.lock:
            del self.graphs[graph]
