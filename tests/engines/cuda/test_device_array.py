import ctypes
import gc

import numpy as np
import pytest
from helpers.fake_cuda import FakeCuda

from hrnet_deploy.engines.cuda import dlpack
from hrnet_deploy.engines.cuda.device_array import DeviceArray, MemoryPool
from hrnet_deploy.engines.cuda.device_view import is_device_array, view
from hrnet_deploy.engines.cuda.dlpack import make_capsule, read_capsule
from hrnet_deploy.errors import DeviceError, UsageError


@pytest.fixture
def blocks(cuda):
    return MemoryPool(cuda, 0)


@pytest.fixture
def stream(cuda):
    return cuda.stream()


class OnHost(DeviceArray):
    """A result that says it lies in host memory, which with the fake GPU is the truth."""

    def __dlpack_device__(self):
        return (1, 0)


def filled(blocks, stream, kind=DeviceArray, shape=(2, 3), dtype="f4"):
    array = kind(blocks, shape, np.dtype(dtype), stream)
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    ctypes.memmove(array.address, values.tobytes(), array.nbytes)
    return array, values


@pytest.mark.parametrize("dtype", ["f4", "f2", "u1", "i8", "?"])
@pytest.mark.parametrize("shape", [(2, 3), (4,), (1, 2, 1, 3)])
def test_numpy_reads_a_result_through_dlpack_in_place(blocks, stream, shape, dtype):
    array, values = filled(blocks, stream, OnHost, shape, dtype)
    shared = np.from_dlpack(array)
    np.testing.assert_array_equal(shared, values)
    assert shared.ctypes.data == array.address
    np.testing.assert_array_equal(array.numpy(), values)


@pytest.mark.slow
def test_torch_reads_a_result_through_dlpack_and_keeps_it_alive(blocks, stream, cuda):
    torch = pytest.importorskip("torch", reason="needs torch")
    array, values = filled(blocks, stream, OnHost)
    address = array.address
    tensor = torch.from_dlpack(array)
    del array
    gc.collect()
    assert tensor.data_ptr() == address
    np.testing.assert_array_equal(tensor.numpy(), values)
    assert blocks.acquire(24, stream) != address  # still in use
    del tensor
    gc.collect()
    assert blocks.acquire(24, stream) == address
    assert not dlpack._alive


def test_a_capsule_nobody_takes_lets_go_of_the_array(blocks, stream):
    array, _ = filled(blocks, stream)
    capsule = array.__dlpack__()
    assert len(dlpack._alive) == 1
    assert read_capsule(capsule).shape == (2, 3)
    del capsule
    assert not dlpack._alive


def test_a_result_is_what_others_call_a_gpu_array(blocks, stream, cuda):
    array, _ = filled(blocks, stream)
    assert is_device_array(array)
    assert array.__dlpack_device__() == (2, 0)
    found = view(array, "x", cuda=cuda, device=0, stream=stream)
    assert (found.address, found.shape, found.dtype) == (array.address, (2, 3), "float32")
    assert repr(array) == "DeviceArray(shape=(2, 3), dtype=float32, device='cuda:0')"
    assert len(array) == 2


def test_a_result_is_not_copied_in_silence(blocks, stream):
    array, _ = filled(blocks, stream)
    with pytest.raises(UsageError, match=r"must be copied to be a NumPy array, got DeviceArray.*Call its numpy\(\)"):
        np.asarray(array)
    for options in ({"copy": True}, {"dl_device": (1, 0)}):
        with pytest.raises(BufferError):
            array.__dlpack__(**options)


@pytest.mark.slow
def test_blocks_read_on_another_stream_are_freed_not_lent_again(blocks, stream, cuda):
    for reader, again in ((None, True), (1, True), (-1, True), (4711, False)):
        array, _ = filled(blocks, stream)
        address = array.address
        capsule = array.__dlpack__(stream=reader)
        before = cuda.calls["free"]
        del capsule, array
        gc.collect()
        got = blocks.acquire(24, stream)
        assert (cuda.calls["free"] == before) is again
        assert again is (got == address) or not again
        blocks.release(24, got)


@pytest.mark.slow
def test_a_block_with_an_unknown_reader_is_freed_not_lent_again(blocks, stream, cuda):
    """torch.as_tensor and cupy.asarray take the interface, which cannot say on which stream they will read."""
    array, values = filled(blocks, stream)
    entry = array.__cuda_array_interface__
    np.testing.assert_array_equal(array.numpy(), values)
    assert entry["data"][0] == array.address
    before, size = cuda.calls["free"], array.nbytes
    del array
    gc.collect()
    blocks.acquire(size, stream)
    assert cuda.calls["free"] == before + 1
    assert not blocks._free


@pytest.mark.slow
def test_looking_at_a_result_is_not_reading_it(blocks, stream, cuda):
    array, _ = filled(blocks, stream)
    address, size = array.address, array.nbytes
    assert is_device_array(array)
    view(array, "x", cuda=cuda, device=0, stream=1)
    del array
    gc.collect()
    assert blocks.acquire(size, stream) == address


def test_idle_blocks_are_few_and_make_room_for_others():
    cuda = FakeCuda(memory=1000)
    cuda.activate(0)
    blocks, stream = MemoryPool(cuda, 0), cuda.stream()
    for address in [blocks.acquire(40, stream) for _ in range(20)]:
        blocks.release(40, address)
    blocks.release(300, blocks.acquire(300, stream))
    assert len(cuda.live) <= 17
    blocks.release(900, blocks.acquire(900, stream))
    with pytest.raises(DeviceError, match=r"allocation of 1\.1 KiB must fit"):
        blocks.acquire(1100, stream)
    blocks.close()
    assert not cuda.live


def test_blocks_that_come_back_after_the_end_are_freed(blocks, stream, cuda):
    array, _ = filled(blocks, stream)
    blocks.close()
    assert len(cuda.live) == 1
    del array
    gc.collect()
    assert not cuda.live


# --- arrays of others


class Foreign:
    """A GPU array of another library: the memory is the host's, the label is a GPU's."""

    def __init__(self, array, device=(2, 0), error=None):
        self.array, self.device, self.error = array, device, error
        self.streams = []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream=None):
        self.streams.append(stream)
        if self.error:
            raise self.error
        return make_capsule(
            self, address=self.array.ctypes.data, shape=self.array.shape, dtype=self.array.dtype, device=self.device
        )


def test_dlpack_is_asked_with_our_stream_so_that_the_producer_orders_itself(cuda, stream):
    array = np.ones((2, 3), np.float32)
    foreign = Foreign(array)
    found = view(foreign, "x", cuda=cuda, device=0, stream=stream)
    assert (found.address, found.shape, found.dtype) == (array.ctypes.data, (2, 3), "float32")
    assert foreign.streams == [stream]
    assert cuda.waits == []


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (np.ones(1), False),
        ([1.0], False),
        (None, False),
        (Foreign(np.ones(1)), True),
        (Foreign(np.ones(1), (13, 0)), True),
        (Foreign(np.ones(1), (1, 0)), False),
        (Foreign(np.ones(1), ("no", "pair")), False),
    ],
)
def test_what_lies_on_a_gpu_is_told_from_what_does_not(value, answer):
    assert is_device_array(value) is answer


@pytest.mark.parametrize(
    ("foreign", "message"),
    [
        (Foreign(np.ones(2), error=BufferError("a\nb")), "input 'x' must be an array that DLPack can share, got: a b"),
        (Foreign(np.ones(2), (2, 1)), "input 'x' must lie on cuda:0, got cuda:1"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(cuda, stream, foreign, message):
    with pytest.raises(UsageError, match=message):
        view(foreign, "x", cuda=cuda, device=0, stream=stream)


def test_torchs_own_capsules_are_read_with_strides_and_types():
    torch = pytest.importorskip("torch", reason="needs torch")
    tensor = torch.arange(24, dtype=torch.float16).reshape(2, 3, 4)[:, 1:]
    found = read_capsule(tensor.__dlpack__())
    assert (found.shape, found.strides, found.dtype) == ((2, 2, 4), (12, 4, 1), "float16")
    assert found.address == tensor.data_ptr()
    assert read_capsule(torch.ones(2, dtype=torch.bfloat16).__dlpack__()).dtype == "bfloat16"
    assert read_capsule(torch.ones(2, dtype=torch.bool).__dlpack__()).dtype == "bool"
    with pytest.raises(BufferError):
        read_capsule(object())
