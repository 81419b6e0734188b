"""CUDA errors on one line: the call, CUDA's name of the error, and the remedy."""

from __future__ import annotations

from hrnet_deploy.errors import DeviceError

_ADVICE = {
    "InsufficientDriver": "Update the NVIDIA driver, or install the package for the CUDA version nvidia-smi shows",
    "NoDevice": "Check that nvidia-smi lists a GPU and that CUDA_VISIBLE_DEVICES does not hide it",
    "InvalidDevice": "Choose a GPU that nvidia-smi lists",
    "MemoryAllocation": "Use a smaller batch",
    "out of memory": "Use a smaller batch",
    "DevicesUnavailable": "Another process holds the GPU alone: stop it, or choose another GPU",
    "IllegalAddress": "The GPU's state is lost: start the process anew, and report this if it happens again",
    "LaunchFailure": "The GPU's state is lost: start the process anew, and report this if it happens again",
    "ECCUncorrectable": "The GPU's memory is damaged: reboot, and have the card checked if it happens again",
    "NotPermitted": "Another stream capture is under way in this process: end it first",
}
_DEFAULT_ADVICE = "Check nvidia-smi; a fresh process often helps"


def call_failure(call: str, error: str) -> DeviceError:
    """Describe a failed call, such as "cudaMalloc", by CUDA's name of the error."""
    advice = next((text for part, text in _ADVICE.items() if part.lower() in error.lower()), _DEFAULT_ADVICE)
    return DeviceError(f"{call} must succeed, got {error}. {advice}.")


def allocation_failure(size: int, error: str, free: int | None, *, pinned: bool = False) -> DeviceError:
    """Describe a failed allocation of `size` bytes, with the bytes still free where they are known."""
    what = "pinned allocation" if pinned else "allocation"
    place = "host memory" if pinned else "the GPU"
    left = "" if free is None or pinned else f" ({readable(free)} free)"
    return DeviceError(f"{what} of {readable(size)} must fit {place}, got {error}{left}. Use a smaller batch.")


def readable(size: int) -> str:
    """Format a number of bytes, such as "1.2 GiB"."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
