import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

runtime = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings")

from hrnet_deploy.engines.cuda import cuda_python  # noqa: E402
from hrnet_deploy.engines.cuda.cuda_python import CudaPython  # noqa: E402
from hrnet_deploy.errors import DeviceError  # noqa: E402

HAS_GPU = CudaPython().device_count() > 0
OK, OUT_OF_MEMORY = runtime.cudaError_t.cudaSuccess, runtime.cudaError_t.cudaErrorMemoryAllocation
LOST = runtime.cudaError_t.cudaErrorIllegalAddress


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
@pytest.mark.parametrize(
    "call",
    [
        lambda cuda: cuda.capability(0), lambda cuda: cuda.device_name(0), lambda cuda: cuda.memory_info(0),
        lambda cuda: cuda.activate(0), lambda cuda: cuda.active(0).__enter__(), lambda cuda: cuda.free(4096),
        lambda cuda: cuda.stream(), lambda cuda: cuda.destroy_stream(5), lambda cuda: cuda.synchronize(5),
        lambda cuda: cuda.wait(5, 1), lambda cuda: cuda.copy_in(1, 2, 3, 4), lambda cuda: cuda.copy_out(1, 2, 3, 4),
        lambda cuda: cuda.copy_across(1, 2, 3, 4), lambda cuda: cuda.begin_capture(5),
        lambda cuda: cuda.end_capture(5), lambda cuda: cuda.launch(5, 6), lambda cuda: cuda.destroy_graph(5),
        lambda cuda: cuda.allocate(5), lambda cuda: cuda.allocate_host(5),
        lambda cuda: cuda.free_host(np.zeros(1, np.uint8)),
    ],
)  # fmt: skip
def test_without_a_driver_every_call_names_cudas_error(call):
    with pytest.raises(DeviceError, match=r"got cudaErrorInsufficientDriver[. ]"):
        call(CudaPython())


@pytest.mark.skipif(HAS_GPU, reason="this machine has a GPU")
def test_without_a_driver_there_are_no_gpus():
    assert CudaPython().device_count() == 0


class Recorder:
    """Stands in for the bindings: answers what it is told, and knows what it was asked."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def __getattr__(self, name):
        if name.startswith("cudaError_t") or name not in self.answers:
            return getattr(runtime, name)

        def call(*arguments):
            self.asked.append((name, *arguments))
            answer = self.answers[name]
            if isinstance(answer, list):
                answer = answer.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


@pytest.fixture
def told(monkeypatch):
    """A provider on bindings that answer as told."""

    def make(**answers):
        recorder = Recorder(answers)
        monkeypatch.setattr(cuda_python, "runtime", recorder)
        return CudaPython(), recorder

    return make


def test_facts_of_a_gpu_are_read(told):
    cuda, _ = told(
        cudaGetDeviceCount=(OK, 2),
        cudaDeviceGetAttribute=[(OK, 9), (OK, 0)],
        cudaGetDeviceProperties=(OK, SimpleNamespace(name=b"NVIDIA H200\0\0")),
        cudaGetDevice=(OK, 1), cudaSetDevice=(OK,), cudaMemGetInfo=(OK, 5, 7),
    )  # fmt: skip
    assert (cuda.device_count(), cuda.capability(0), cuda.device_name(0), cuda.memory_info(0)) == (
        2, "sm90", "NVIDIA H200", (5, 7),
    )  # fmt: skip


@pytest.mark.parametrize(("own", "calls"), [(1, [0, 1]), (0, [0])])
def test_the_threads_own_gpu_is_back_afterwards_also_after_an_error(told, own, calls):
    cuda, recorder = told(cudaGetDevice=(OK, own), cudaSetDevice=(OK,))
    with pytest.raises(ZeroDivisionError), cuda.active(0):
        raise ZeroDivisionError
    assert [call[1] for call in recorder.asked if call[0] == "cudaSetDevice"] == calls


def test_no_memory_says_what_is_free(told):
    cuda, recorder = told(
        cudaMalloc=(OUT_OF_MEMORY, None), cudaMemGetInfo=(OK, 3 << 20, 8 << 20), cudaGetLastError=(OUT_OF_MEMORY,),
        cudaHostAlloc=(OUT_OF_MEMORY, None),
    )  # fmt: skip
    with pytest.raises(DeviceError, match=r"allocation of 5\.0 GiB .* got cudaErrorMemoryAllocation \(3\.0 MiB free\)"):
        cuda.allocate(5 << 30)
    with pytest.raises(DeviceError, match="pinned allocation of 7 B must fit host memory"):
        cuda.allocate_host(7)
    assert [call[0] for call in recorder.asked].count("cudaGetLastError") == 2


def test_pinned_memory_is_an_array_on_it(told):
    block = (ctypes.c_uint8 * 8)()
    cuda, recorder = told(cudaHostAlloc=(OK, ctypes.addressof(block)), cudaFreeHost=(OK,))
    array = cuda.allocate_host(8)
    array[:] = 7
    assert bytes(block) == b"\7" * 8
    cuda.free_host(array)
    assert recorder.asked[-1] == ("cudaFreeHost", ctypes.addressof(block))


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([(OK, 77)], [(5, 0)]),
        ([TypeError("3 positional arguments"), (OK, 77, b"")], [(5, 0), (5, b"", 0)]),
    ],
)
def test_a_graph_is_made_executable_with_the_arguments_either_cuda_wants(told, answers, asked):
    cuda, recorder = told(cudaStreamEndCapture=(OK, 5), cudaGraphInstantiate=answers, cudaGraphDestroy=(OK,))
    assert cuda.end_capture(3) == 77
    assert [call[1:] for call in recorder.asked if call[0] == "cudaGraphInstantiate"] == asked
    assert recorder.asked[-1] == ("cudaGraphDestroy", 5)


def test_an_invalidated_capture_gives_no_graph(told):
    cuda, _ = told(cudaStreamEndCapture=(OK, 0))
    with pytest.raises(DeviceError, match="no graph: the capture was invalidated"):
        cuda.end_capture(3)


def test_a_wait_leaves_no_event_behind(told):
    cuda, recorder = told(
        cudaEventCreateWithFlags=(OK, 9), cudaEventRecord=(LOST,), cudaStreamWaitEvent=(OK,), cudaEventDestroy=(OK,)
    )
    with pytest.raises(DeviceError, match="cudaEventRecord must succeed, got cudaErrorIllegalAddress"):
        cuda.wait(5, 1)
    assert recorder.asked[-1] == ("cudaEventDestroy", 9)
