import numpy as np
import pytest
from helpers.fake_cuda import FakeCuda

from hrnet_deploy.engines.tensorrt.io_buffers import IoBuffers
from hrnet_deploy.engines.tensorrt.io_signature import Binding
from hrnet_deploy.errors import DeviceError

X = Binding("x", np.dtype("f4"), (-1, 3))
Y = Binding("y", np.dtype("u1"), (-1, 3))


@pytest.fixture
def stream(cuda):
    return cuda.stream()


@pytest.fixture
def buffers(cuda, stream):
    buffers = IoBuffers(cuda, {"x": 96, "y": 24}, stream)
    yield buffers
    buffers.close()
    assert not cuda.live
    assert not cuda.live_host


def test_the_device_side_is_there_at_once_and_the_pinned_side_when_needed(buffers, cuda):
    assert sorted(len(block) for block in cuda.live.values()) == [24, 96]
    assert not cuda.live_host
    for _ in range(3):
        buffers.load(X, np.ones((2, 3), np.float32))
    assert [array.size for array in cuda.live_host.values()] == [96]
    assert cuda.calls["allocate"] == 2


@pytest.mark.parametrize("shape", [(1, 3), (8, 3)])
def test_values_travel_there_and_back(buffers, cuda, stream, shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    buffers.load(X, values[::-1])
    buffers.load_across(X, buffers.addresses["x"], values.nbytes)
    buffers.store(X, shape)
    buffers.host(X, shape)[...] = 0
    cuda.synchronize(stream)
    assert not buffers.host(X, shape).any()  # what was zeroed before the copy in ran
    buffers.load(X, values[::-1])
    cuda.synchronize(stream)
    buffers.host(X, shape)[...] = 0
    buffers.store(X, shape)
    cuda.synchronize(stream)
    np.testing.assert_array_equal(buffers.host(X, shape), values[::-1])


def test_values_travel_within_the_gpu(buffers, cuda, stream):
    source, target = cuda.allocate(6), cuda.allocate(6)
    buffers.load_across(Y, source, 6)
    buffers.store_across(Y, target, (2, 3))
    cuda.synchronize(stream)
    assert bytes(cuda.live[target]) == bytes(cuda.live[source])
    cuda.free(source)
    cuda.free(target)


def test_a_value_of_another_type_is_never_converted_in_silence(buffers):
    with pytest.raises(TypeError):
        buffers.load(X, np.ones((2, 3)))


def test_no_memory_for_one_tensor_frees_the_others():
    cuda = FakeCuda(memory=100)
    cuda.activate(0)
    with pytest.raises(DeviceError, match="allocation of 24 B must fit"):
        IoBuffers(cuda, {"x": 96, "y": 24}, cuda.stream())
    assert not cuda.live


def test_closing_twice_frees_once(cuda, stream):
    buffers = IoBuffers(cuda, {"x": 96}, stream)
    buffers.load(X, np.ones((2, 3), np.float32))
    buffers.close()
    buffers.close()
    assert cuda.calls["free"] == 1
    assert not cuda.live_host
