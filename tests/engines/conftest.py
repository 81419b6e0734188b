"""A fake GPU and a fake TensorRT on it."""

import ctypes
import types

import pytest
from helpers.fake_cuda import FakeCuda
from helpers.fake_tensorrt import FakeTensorRT


@pytest.fixture
def cuda():
    """A fake GPU, current in this thread."""
    fake = FakeCuda()
    fake.activate(0)
    return fake


@pytest.fixture
def driver(monkeypatch):
    """(major, minor) -> NVIDIA's driver library of a machine with one GPU of that compute capability is loaded."""
    load = ctypes.CDLL

    def install(*capability):
        def get(device, number):
            device._obj.value = 7
            return 101 if number else 0  # CUDA_ERROR_INVALID_DEVICE

        def attribute(value, which, device):
            assert device.value == 7
            value._obj.value = capability[which - 75]
            return 0

        library = types.SimpleNamespace(cuInit=lambda _flags: 0, cuDeviceGet=get, cuDeviceGetAttribute=attribute)
        names = {"libcuda.so.1", "nvcuda.dll"}
        monkeypatch.setattr(ctypes, "CDLL", lambda name, *rest: library if name in names else load(name, *rest))

    return install


@pytest.fixture
def trt(cuda):
    """A fake classic TensorRT on the fake GPU."""
    return FakeTensorRT(cuda)


@pytest.fixture
def rtx(cuda):
    """A fake TensorRT-RTX on the fake GPU."""
    return FakeTensorRT(cuda, rtx=True)
