"""A fake GPU and a fake TensorRT on it."""

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
def trt(cuda):
    """A fake classic TensorRT on the fake GPU."""
    return FakeTensorRT(cuda)


@pytest.fixture
def rtx(cuda):
    """A fake TensorRT-RTX on the fake GPU."""
    return FakeTensorRT(cuda, rtx=True)
