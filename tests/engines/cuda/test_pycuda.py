"""PyCUDA compiles against the CUDA toolkit and cannot be installed here: a stand-in has the surface we use."""

import ctypes
import importlib
import sys
import threading
import types

import numpy as np
import pytest

from hrnet_deploy.engines.cuda.provider import open_cuda
from hrnet_deploy.errors import DeviceError


class Error(Exception):
    pass


class FakeDriver(types.ModuleType):
    """`pycuda.driver`, as far as its reference and wrapper define what is used."""

    Error = Error

    def __init__(self, initialises=True):
        super().__init__("pycuda.driver")
        driver = self
        self.initialises = initialises
        self.stack = threading.local()
        self.log = []
        self.full = False

        class Device:
            def __init__(self, index):
                self.index = index

            def __eq__(self, other):
                return self.index == other.index

            def __hash__(self):
                return self.index

            @staticmethod
            def count():
                return 2

            def name(self):
                return f"Tesla T{self.index}"

            def compute_capability(self):
                return (7, 5)

            def retain_primary_context(self):
                driver.log.append(("retain", self.index))
                return Context(self.index)

        class Context:
            def __init__(self, index):
                self.index = index

            def push(self):
                driver.contexts().append(self)

            @staticmethod
            def pop():
                driver.contexts().pop()

            @staticmethod
            def get_current():
                return driver.contexts()[-1] if driver.contexts() else None

            @staticmethod
            def get_device():
                return Device(driver.contexts()[-1].index)

            @staticmethod
            def synchronize():
                driver.log.append(("synchronize",))

        class DeviceAllocation:
            def __init__(self, size):
                self.block = (ctypes.c_uint8 * size)()

            def __int__(self):
                return ctypes.addressof(self.block)

            def free(self):
                assert driver.contexts(), "a context must be current"
                driver.log.append(("free",))

        class Stream:
            def __init__(self, flags=0):
                self.flags = flags
                self.handle = id(self)

            def synchronize(self):
                driver.log.append(("synchronize", self.handle))

            def wait_for_event(self, event):
                driver.log.append(("wait", self.handle, event.recorded))

        class Event:
            def __init__(self, flags=0):
                self.flags = flags

            def record(self, stream=None):
                self.recorded = stream and stream.handle

        class Pinned(np.ndarray):
            pass

        self.Device, self.Context, self.Stream, self.Event = Device, Context, Stream, Event
        self.event_flags = types.SimpleNamespace(DISABLE_TIMING=2)
        self.allocation = DeviceAllocation

    def contexts(self):
        if not hasattr(self.stack, "entries"):
            self.stack.entries = []
        return self.stack.entries

    def init(self, flags=0):
        if not self.initialises:
            raise Error("cuInit failed: no CUDA-capable device is detected")

    def mem_alloc(self, size):
        if self.full:
            raise Error("cuMemAlloc failed: out of memory")
        return self.allocation(size)

    def mem_get_info(self):
        return (3 << 20, 8 << 20)

    def pagelocked_empty(self, shape, dtype, order="C", mem_flags=0):
        if self.full:
            raise Error("cuMemHostAlloc failed: out of memory")

        class HostAllocation:
            def __init__(self):
                self.block = (ctypes.c_uint8 * shape)()
                self.__array_interface__ = {
                    "shape": (shape,), "typestr": "|u1", "data": (ctypes.addressof(self.block), False), "version": 3,
                }  # fmt: skip
                self.free = lambda: driver.log.append(("free host",))

        driver = self
        return np.asarray(HostAllocation())

    def memcpy_htod_async(self, dest, src, stream=None):
        ctypes.memmove(dest, bytes(src), len(src))

    def memcpy_dtoh_async(self, dest, src, stream=None):
        ctypes.memmove(dest.ctypes.data, src, dest.nbytes)

    def memcpy_dtod_async(self, dest, src, size, stream=None):
        ctypes.memmove(dest, src, size)


@pytest.fixture
def installed(monkeypatch):
    """Puts a stand-in where PyCUDA would be."""

    def install(**options):
        driver = FakeDriver(**options)
        package = types.ModuleType("pycuda")
        package.driver = driver
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
        monkeypatch.delitem(sys.modules, "hrnet_deploy.engines.cuda.pycuda", raising=False)
        parent = importlib.import_module("hrnet_deploy.engines.cuda")
        monkeypatch.delattr(parent, "pycuda", raising=False)
        return driver

    yield install
    sys.modules.pop("hrnet_deploy.engines.cuda.pycuda", None)


def test_inside_a_pycuda_context_that_one_is_used(installed):
    driver = installed()
    mine = driver.Device(1).retain_primary_context()
    mine.push()
    cuda = open_cuda()
    assert cuda.name == "pycuda"
    with cuda.active(1):
        assert driver.Context.get_current() is mine
        assert len(driver.contexts()) == 1
    assert driver.log == [("retain", 1)]


def test_in_another_thread_the_same_context_is_pushed_and_popped(installed):
    driver = installed()
    mine = driver.Device(0).retain_primary_context()
    mine.push()
    cuda = open_cuda()
    seen = []

    def work():
        with cuda.active(0):
            seen.append(driver.Context.get_current())
        seen.append(driver.Context.get_current())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [mine, None]


def test_without_a_context_the_primary_one_is_retained_once(installed):
    driver = installed()
    cuda = open_cuda("pycuda")
    for _ in range(2):
        with cuda.active(1):
            assert driver.Context.get_device() == driver.Device(1)
        assert driver.Context.get_current() is None
    cuda.activate(1)
    cuda.activate(1)
    assert len(driver.contexts()) == 1
    assert driver.log == [("retain", 1)]


def test_facts_of_a_gpu_are_read(installed):
    installed()
    cuda = open_cuda("pycuda")
    assert (cuda.device_count(), cuda.capability(0), cuda.device_name(0)) == (2, "sm75", "Tesla T0")
    assert cuda.memory_info(0) == (3 << 20, 8 << 20)


def test_bytes_travel_and_memory_is_given_back(installed):
    driver = installed()
    cuda = open_cuda("pycuda")
    cuda.activate(0)
    stream, a, b = cuda.stream(), cuda.allocate(16), cuda.allocate(16)
    host = cuda.allocate_host(16)
    host[:] = np.arange(16)
    cuda.copy_in(a, host.ctypes.data, 16, stream)
    cuda.copy_across(b, a, 16, stream)
    host[:] = 0
    cuda.copy_out(host.ctypes.data, b, 16, stream)
    cuda.synchronize(stream)
    np.testing.assert_array_equal(host, np.arange(16))
    cuda.free_host(host)
    cuda.free(a)
    cuda.free(b)
    cuda.destroy_stream(stream)
    assert [entry[0] for entry in driver.log] == ["retain", "synchronize", "free host", "free", "free"]
    assert not cuda._owned


def test_waits_name_the_stream_where_pycuda_can(installed):
    driver = installed()
    cuda = open_cuda("pycuda")
    ours, other = cuda.stream(), cuda.stream()
    assert cuda._owned[ours].flags == 1
    driver.log.clear()
    cuda.wait(ours, 1)
    cuda.wait(ours, other)
    cuda.wait(ours, 4711)
    assert driver.log == [("wait", ours, None), ("wait", ours, other), ("synchronize",)]


def test_no_memory_and_no_graphs_are_said_in_one_line(installed):
    driver = installed()
    cuda = open_cuda("pycuda")
    driver.full = True
    with pytest.raises(DeviceError, match=r"allocation of 5 B must fit the GPU, got out of memory \(3\.0 MiB free\)"):
        cuda.allocate(5)
    with pytest.raises(DeviceError, match="pinned allocation of 5 B must fit host memory, got out of memory"):
        cuda.allocate_host(5)
    for call in (lambda: cuda.begin_capture(1), lambda: cuda.end_capture(1), lambda: cuda.launch(1, 2)):
        with pytest.raises(DeviceError, match="CUDA graphs need a provider that records streams, got PyCUDA"):
            call()


def test_without_a_driver_there_are_no_gpus(installed):
    installed(initialises=False)
    cuda = open_cuda("pycuda")
    assert cuda.device_count() == 0
    with pytest.raises(DeviceError, match="cuInit must succeed, got no CUDA-capable device is detected"):
        cuda.activate(0)
