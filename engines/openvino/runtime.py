"""The OpenVINO package: loaded once, without telemetry, with its abilities on this CPU."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import threading
from typing import Any

from hrnet_deploy.engines.runtime_message import tidy
from hrnet_deploy.errors import DeviceError, MissingDependencyError
from hrnet_deploy.system.processor import is_arm

DEVICE = "CPU"
"""OpenVINO's name of the CPU."""
DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
"""Names in reports of OpenVINO's `INFERENCE_PRECISION_HINT` values."""

_PIP = "pip install 'hrnet-deploy[openvino]'"
_TELEMETRY = "openvino_telemetry"
_lock = threading.Lock()


def is_installed() -> bool:
    """Return whether the package is installed, without loading it."""
    return importlib.util.find_spec("openvino") is not None


def load_openvino() -> Any:
    """Import the package without its telemetry; MissingDependencyError where it does not load.

    The import reports itself to an analytics server through `openvino_telemetry`, unless that module is missing. It is
    blocked meanwhile, which also saves a third of the time.
    """
    with _lock:
        blocked = _TELEMETRY not in sys.modules
        if blocked:
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes `import` fail
        try:
            openvino = importlib.import_module("openvino")
        except (ImportError, OSError) as error:
            raise MissingDependencyError(f"backend 'openvino' needs OpenVINO, got: {error}. {_PIP}") from error
        finally:
            if blocked:
                del sys.modules[_TELEMETRY]
        # Its bindings find NumPy at their first use; two threads that do so at a time wait for each other forever.
        openvino.Type.f32.to_dtype()
        return openvino


@functools.cache
def load_core() -> Any:
    """Return openvino.Core, one per process, or raise a DeviceError where it offers no CPU."""
    core = load_openvino().Core()
    if DEVICE not in core.available_devices:
        raise DeviceError("OpenVINO must offer the CPU, got none. Use backend='onnxruntime'.")
    return core


def abilities() -> frozenset[str]:
    """Return the CPU plugin's abilities on this CPU, such as "FP32", "BF16", "FP16" and "INT8"."""
    return frozenset(load_core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"))


def half_hint() -> str:
    """Return the precision hint for FP16 graphs on this CPU; "f32" without half precision."""
    found = abilities()
    # On x86 with AVX512-BF16 or AMX, bfloat16 is faster than float16.
    order = ("FP16", "BF16") if is_arm() else ("BF16", "FP16")
    return next((name.lower().replace("fp", "f") for name in order if name in found), "f32")


def reason(error: Exception) -> str:
    """Return OpenVINO's message on one line, without its places in the sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    described = [line for line in lines if not line.startswith(("Exception from ", "Check '"))]
    return tidy(" ".join(described or lines)) or type(error).__name__
