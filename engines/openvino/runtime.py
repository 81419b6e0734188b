"""OpenVINO itself: loaded once, without telemetry, and asked what this CPU can do."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import platform
import sys
import threading
from typing import Any

from hrnet_deploy.errors import DeviceError, MissingDependencyError

DEVICE = "CPU"
"""OpenVINO's name of the device."""
DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
"""Names of OpenVINO's `INFERENCE_PRECISION_HINT` values, as reports print them."""

_PIP = "pip install 'hrnet-deploy[openvino]'"
_TELEMETRY = "openvino_telemetry"
_ARM = frozenset({"aarch64", "arm64"})
_lock = threading.Lock()


def installed() -> bool:
    """Whether the package is there; it is not loaded."""
    return importlib.util.find_spec("openvino") is not None


def load_openvino() -> Any:
    """Import the package.

    Importing it reports the import to an analytics server through `openvino_telemetry`, unless that is missing; so it
    is kept missing meanwhile, which also saves a third of the time.

    Returns:
        The module.

    Raises:
        MissingDependencyError: it is not installed or does not load.
    """
    with _lock:
        blocked = _TELEMETRY not in sys.modules
        if blocked:
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes `import` fail
        try:
            return importlib.import_module("openvino")
        except (ImportError, OSError) as error:
            raise MissingDependencyError(f"backend 'openvino' needs OpenVINO, got: {error}. {_PIP}") from error
        finally:
            if blocked:
                del sys.modules[_TELEMETRY]


@functools.cache
def load_core() -> Any:
    """OpenVINO's core, one a process.

    Returns:
        openvino.Core, which offers the CPU.

    Raises:
        MissingDependencyError: the package is not installed or does not load.
        DeviceError: it offers no CPU.
    """
    core = load_openvino().Core()
    if DEVICE not in core.available_devices:
        raise DeviceError("OpenVINO must offer the CPU, got none. Use backend='onnxruntime'.")
    return core


def abilities() -> frozenset[str]:
    """What the CPU plugin reports for this CPU.

    Returns:
        Names such as "FP32", "BF16", "FP16", "INT8".

    Raises:
        MissingDependencyError: the package is not installed or does not load.
        DeviceError: it offers no CPU.
    """
    return frozenset(load_core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"))


def half_hint() -> str:
    """The arithmetic for FP16 graphs on this CPU.

    Returns:
        "f16" on ARM CPUs that have it, "bf16" on x86 CPUs with AVX512-BF16 or AMX (whose tiles make bfloat16 faster
        than float16), else "f16" where the CPU has that; "f32" without half precision.

    Raises:
        MissingDependencyError: the package is not installed or does not load.
        DeviceError: it offers no CPU.
    """
    found = abilities()
    order = ("FP16", "BF16") if platform.machine().lower() in _ARM else ("BF16", "FP16")
    return next((name.lower().replace("fp", "f") for name in order if name in found), "f32")


def one_line(error: Exception) -> str:
    """What went wrong, without the places in OpenVINO's sources.

    Args:
        error: what OpenVINO raised.

    Returns:
        At most 300 characters.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from ", "Check '"))]
    return " ".join(told or lines)[:300]
