"""ONNX Runtime sessions on a GPU, which are refused unless all that computes runs there."""

from __future__ import annotations

import ctypes
import importlib.metadata
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from hrnet_deploy.artifact.onnx_header import OnnxHeader
from hrnet_deploy.engines.compiled_cache import compiled_folder, trim_cache
from hrnet_deploy.engines.graph import graph_card
from hrnet_deploy.engines.ort.libraries import preload_libraries
from hrnet_deploy.engines.ort.providers import (
    CPU,
    CUDA,
    TENSORRT,
    CudaTuning,
    cuda_options,
    device_number,
    int8_refusal,
    missing_library,
    tensorrt_options,
)
from hrnet_deploy.engines.ort.session import open_session, reason, session_options
from hrnet_deploy.errors import ArtifactError, DeviceError, UsageError, one_line
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.gpu_table import Gpu, Runtime, find_gpu, objection, refusal
from hrnet_deploy.system.processor import is_arm

LENIENT: Mapping[str, str] = {"session.record_ep_graph_assignment_info": "1"}
"""Session entries that allow and record nodes on the CPU."""
STRICT: Mapping[str, str] = {**LENIENT, "session.disable_cpu_ep_fallback": "1"}
"""Session entries that require every node on the GPU."""
HEAVY = frozenset({"Conv", "FusedConv", "Gemm", "MatMul"})
"""Operators that must not run on the CPU."""
_CAPABILITY = (75, 76)
"""Attributes of the compute capability's two numbers. Source: CUdevice_attribute in cuda.h."""
_PACKAGE = Path(onnxruntime.__file__).parent / "capi"
_TITLES = {CUDA: "CUDA", TENSORRT: "TensorRT"}
_NEEDS = {CUDA: "CUDA and cuDNN", TENSORRT: "CUDA, cuDNN and TensorRT 10"}


def open_on_gpu(
    model: Path | bytes,
    name: str,
    *,
    header: OnnxHeader,
    device: str,
    provider: str,
    tuning: CudaTuning,
    threads: int | None,
    in_order: bool = False,
) -> tuple[Any, bool]:
    """Return a session on the CUDA or TensorRT provider for this thread, and whether it captures CUDA graphs."""
    number = device_number(device)
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"device '{device}' needs ONNX Runtime with {_TITLES[provider]}, got a build for "
            f"{onnxruntime.get_device()}. pip uninstall onnxruntime; pip install 'hrnet-deploy[gpu]', or use "
            "device='cpu'."
        )
    card = graph_card(header)
    precision = card.precision if card is not None else Precision.FP16 if header.half else None
    if provider == CUDA and (refused := int8_refusal(precision, quantized=header.quantized)):
        raise DeviceError(refused)
    if provider == CUDA and (refused := card_refusal(number, Runtime.ONNXRUNTIME_CUDA, precision or Precision.FP32)):
        raise DeviceError(f"{refused}, or use device='cpu'.")
    preload_libraries()
    providers: list[Any] = []
    if provider == TENSORRT:
        cache = compiled_folder("onnxruntime-trt", model, onnxruntime.__version__)
        if cache is not None:
            trim_cache(cache)  # now, because TensorRT fills it later, when it builds
        providers.append((TENSORRT, tensorrt_options(card, device=number, cache=cache)))
    capture = provider == CUDA and tuning.cuda_graph is not False
    # Shape arithmetic of open sizes belongs on the CPU. It does not forbid a capture, because a graph is replayed for
    # the shape of its capture only. ONNX Runtime refuses to capture graphs with copies to the CPU and back.
    for entries, graph in ((STRICT, capture), *([(LENIENT, True)] if capture else []), (LENIENT, False)):
        options = session_options(threads=threads, in_order=in_order, entries=entries)
        settings = cuda_options(tuning, device=number, precision=precision, open_sizes=header.open_sizes, graph=graph)
        try:
            session = open_session(model, name, options, [*providers, (CUDA, settings)])
            break
        except ArtifactError as error:
            failure = error
    else:
        if missing := missing_library(provider, _PACKAGE):
            raise _not_loaded(device, provider, missing, "no session") from failure
        raise failure
    check_placement(session, device, provider)
    return session, graph


def check_placement(session: Any, device: str, provider: str) -> None:
    """Refuse a session with another first provider, or with convolutions on the CPU."""
    active = session.get_providers()[0]
    if active != provider:
        raise _not_loaded(device, provider, missing_library(provider, _PACKAGE), active)
    if stray := nodes_on(session, CPU) & HEAVY:
        raise DeviceError(
            f"device '{device}' must run every convolution, got {', '.join(sorted(stray))} on the CPU. "
            "Export the artifact again, or use device='cpu'."
        )


def nodes_on(session: Any, provider: str) -> frozenset[str]:
    """Return the operators on a provider; empty where this ONNX Runtime (before 1.24) or session records none."""
    try:
        assigned = session.get_provider_graph_assignment_info()
    except Exception:  # noqa: BLE001 - ONNX Runtime's own types share no base but Exception
        return frozenset()
    return frozenset(node.op_type for part in assigned if part.ep_name == provider for node in part.get_nodes())


def card_refusal(number: int, runtime: Runtime, precision: Precision) -> str | None:
    """Return the table's reason against a GPU of this machine; None where it does not know the GPU or the build."""
    gpu = _card(number)
    cuda = runtime is Runtime.ONNXRUNTIME_CUDA
    if gpu is None or (cuda and not _from_pypi()):
        return None
    return refusal(gpu, runtime, precision, onnxruntime.__version__ if cuda else None, arm=is_arm())


def explain_failure(error: Exception, number: int | None) -> str:
    """Describe a failed run, with the GPU table's reason where this build has no code for the GPU."""
    # PyPI's builds are refused early; others may hold code for more GPUs than the table lists.
    text = reason(error)
    if number is None or "no kernel image" not in one_line(error):
        return text
    gpu = _card(number)
    if gpu is None:
        return f"{text} (this ONNX Runtime has no code for the card, see hrnet-doctor)"
    found = objection(gpu, Runtime.ONNXRUNTIME_CUDA, Precision.FP32, onnxruntime.__version__, arm=is_arm())
    why = f"{found.reason}; {found.way}" if found else f"this ONNX Runtime has no code for {gpu.sm}, see hrnet-doctor"
    return f"no kernel image for the card: {why}"


def _card(number: int) -> Gpu | None:
    """Return the table's row of a GPU of this machine; None where the driver or the row is missing."""
    try:
        return find_gpu(_capability(number))
    except UsageError:
        return None


def _capability(number: int) -> str:
    """Return a GPU's compute capability by NVIDIA's driver, without a Python package; "" without a driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return ""
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), number):
        return ""
    for attribute, value in zip(_CAPABILITY, (major, minor), strict=True):
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return ""
    return f"sm{major.value}{minor.value}"


def _from_pypi() -> bool:
    """Return whether this build can be PyPI's, which accepts no wheels with the platform tag "linux_*"."""
    try:
        tags = importlib.metadata.distribution("onnxruntime-gpu").read_text("WHEEL") or ""
    except importlib.metadata.PackageNotFoundError:
        return False
    return re.search(r"^Tag: \S+-(manylinux|win_)", tags, re.MULTILINE) is not None


def _not_loaded(device: str, provider: str, missing: str, active: str) -> DeviceError:
    detail = f" ({missing})" if missing else ""
    return DeviceError(
        f"device '{device}' must run on the GPU, got {active}: the {_TITLES[provider]} provider did not "
        f"load{detail}. Check nvidia-smi and the {_NEEDS[provider]} libraries, or use device='cpu'."
    )
