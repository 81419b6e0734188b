import pytest

from hrnet_deploy.engines.cuda.errors import allocation_failure, call_failure, readable
from hrnet_deploy.errors import DeviceError


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (150 << 10, "150 KiB"), (1000 << 10, "1.0 MiB"),
     (int(1.2 * (1 << 30)), "1.2 GiB"), (3 << 40, "3072.0 GiB")],
)  # fmt: skip
def test_sizes_are_readable(size, text):
    assert readable(size) == text


def test_no_memory_says_how_much_was_wanted_and_how_much_there_was():
    error = allocation_failure(int(1.2 * (1 << 30)), "cudaErrorMemoryAllocation", int(0.3 * (1 << 30)))
    assert isinstance(error, DeviceError)
    assert str(error) == (
        "allocation of 1.2 GiB must fit the GPU, got cudaErrorMemoryAllocation (307 MiB free). Use a smaller batch."
    )
    assert "host memory, got X. Use" in str(allocation_failure(5, "X", None, pinned=True))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("cudaErrorInsufficientDriver", "Update the NVIDIA driver"),
        ("cudaErrorNoDevice", "nvidia-smi lists a GPU"),
        ("cudaErrorIllegalAddress", "start the process anew"),
        ("out of memory", "Use a smaller batch"),
        ("cudaErrorNew", "Check nvidia-smi"),
    ],
)
def test_a_failed_call_carries_cudas_name_and_what_to_do(name, advice):
    assert str(call_failure("cudaFree", name)).startswith(f"cudaFree must succeed, got {name}. ")
    assert advice in str(call_failure("cudaFree", name))
