"""What is installed on this machine and really loads; works without any optional package."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hrnet_deploy.errors import HrnetDeployError, MissingDependencyError, one_line
from hrnet_deploy.system.nvidia_smi import query_gpus
from hrnet_deploy.system.processor import has_vnni, is_arm

EXPORT_PACKAGES = ("torch", "onnx", "onnxscript", "onnxsim", "safetensors")
"""Distributions that the export needs."""

_PACKAGES = (
    *("numpy", "opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
    *("onnxruntime", "onnxruntime-gpu", "openvino", *EXPORT_PACKAGES),
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu13", "cuda-bindings", "pycuda"),
    "onnxruntime-ep-nv-tensorrt-rtx",
)
# y = relu(x), opset 13: the smallest model that makes a runtime load a provider; as bytes, so that onnx is not needed.
_TINY_ONNX = (
    b'\x08\x08:3\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
_LINE_CHARS = 200
_LOG_NOTHING, _LOG_WARNINGS = 4, 2


@dataclass(frozen=True, kw_only=True)
class GpuInfo:
    """The first GPU of a machine; its name is "" where there is none, and `note` then has what was tried."""

    name: str = ""
    capability: str = ""
    driver: str = ""
    count: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The runtimes, packages and processors of a machine.

    Attributes:
        packages: version by distribution, of the installed ones among those that matter here.
        providers: ONNX Runtime's providers by short name such as "CUDA"; "" where one loads, else why it does not.
        tensorrt: version of TensorRT; "" where it is not installed or does not load.
        tensorrt_rtx: the same for TensorRT-RTX.
        abilities: features of "tensorrt", "tensorrt-rtx" and "openvino", or why an installed one does not load.
        half: type in which OpenVINO computes FP16 on this CPU, such as "bfloat16"; "float32" on a CPU without half
            precision, "" where OpenVINO is not installed or does not load.
        vnni: the CPU multiplies INT8 without saturating; None where unknown.
        arm: the CPU is an ARM one, for which packages hold code for other GPUs.
    """

    packages: Mapping[str, str] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    tensorrt: str = ""
    tensorrt_rtx: str = ""
    abilities: Mapping[str, str] = field(default_factory=dict)
    half: str = ""
    gpu: GpuInfo = GpuInfo()
    vnni: bool | None = None
    arm: bool = False

    @property
    def onnxruntime(self) -> str:
        """Version of ONNX Runtime, whichever build; "" where there is none."""
        return self.packages.get("onnxruntime-gpu") or self.packages.get("onnxruntime", "")


def probe_environment() -> Environment:
    """Load each runtime once and record what works; nothing raises."""
    packages = _packages()
    tensorrt, tensorrt_rtx, abilities = _tensorrt()
    half, abilities["openvino"] = _openvino() if "openvino" in packages else ("", "")
    return Environment(
        packages=packages,
        providers=_providers() if {"onnxruntime", "onnxruntime-gpu"} & set(packages) else {},
        tensorrt=tensorrt,
        tensorrt_rtx=tensorrt_rtx,
        abilities=abilities,
        half=half,
        gpu=_gpu(),
        vnni=has_vnni(),
        arm=is_arm(),
    )


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _providers() -> dict[str, str]:
    """Open a session on each provider: ONNX Runtime's list names what was compiled in, not what the machine has."""
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        return {"CPU": one_line(error, _LINE_CHARS)}
    from hrnet_deploy.engines.ort.libraries import preload_libraries
    from hrnet_deploy.engines.ort.providers import CUDA, TENSORRT, missing_library

    preload_libraries()  # as an engine does
    onnxruntime.set_default_logger_severity(_LOG_NOTHING)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_NOTHING
    found = {}
    for provider in onnxruntime.get_available_providers():
        name = provider.removesuffix("ExecutionProvider").replace("Tensorrt", "TensorRT")
        if name == "Azure":  # calls a web service
            continue
        providers = [provider] if name == "CPU" else [provider, "CPUExecutionProvider"]
        try:
            # Without a fallback ONNX Runtime raises the reason, where it would print "EP Error ... Falling back".
            session = onnxruntime.InferenceSession(_TINY_ONNX, options, providers=providers, enable_fallback=0)
            found[name] = ""
            if session.get_providers()[0] != provider:
                folder = Path(onnxruntime.__file__).parent / "capi"
                library = missing_library(provider, folder) if provider in {CUDA, TENSORRT} else ""
                found[name] = library or "it fell back to the CPU"
        except Exception as error:  # noqa: BLE001  (its own types share no base but Exception)
            found[name] = one_line(error, _LINE_CHARS)
    onnxruntime.set_default_logger_severity(_LOG_WARNINGS)
    return found


def _tensorrt() -> tuple[str, str, dict[str, str]]:
    """Return the versions of TensorRT and TensorRT-RTX, and their abilities."""
    from hrnet_deploy.artifact.plan_file import CLASSIC, RTX
    from hrnet_deploy.engines.tensorrt.api import find_api

    versions, abilities = {}, {}
    for flavour in (CLASSIC, RTX):
        try:
            api = find_api(flavour)
        except HrnetDeployError as error:
            if not isinstance(error.__cause__, ModuleNotFoundError):
                abilities[flavour] = one_line(error.__cause__ or error, _LINE_CHARS)
            continue
        versions[flavour] = api.version
        features = {
            "typed graphs": api.strong_typing,
            "builder flags": api.weak_typing,
            "entropy calibrator": api.implicit_int8,
            "timing cache": api.timing_cache,
        }
        words = [name for name, present in features.items() if present]
        if api.compute_targets:
            words.append("builds for " + ", ".join(api.compute_targets))
        abilities[flavour] = "; ".join(words)
    return versions.get(CLASSIC, ""), versions.get(RTX, ""), abilities


def _openvino() -> tuple[str, str]:
    """Return OpenVINO's type for FP16 and its abilities on this CPU; "" and the reason where it does not load."""
    from hrnet_deploy.engines.openvino.runtime import DTYPES, abilities, half_hint

    try:
        return DTYPES[half_hint()], ", ".join(sorted(abilities() & {"FP32", "FP16", "BF16", "INT8"}))
    except HrnetDeployError as error:
        return "", one_line(error.__cause__ or error, _LINE_CHARS)


def _gpu() -> GpuInfo:
    """Return the first GPU, by nvidia-smi or else by CUDA."""
    from hrnet_deploy.engines.cuda.provider import open_cuda

    rows, note = query_gpus("name", "driver_version", "compute_cap")
    if rows:
        name, driver, capability = rows[0]
        return GpuInfo(name=name, driver=driver, capability="sm" + capability.replace(".", ""), count=len(rows))
    reason = "no GPU or no driver"
    try:
        cuda = open_cuda("cuda-python")
        if count := cuda.device_count():
            return GpuInfo(name=cuda.device_name(0), capability=cuda.capability(0), count=count)
    except MissingDependencyError:
        reason = "cuda-bindings not installed"
    except HrnetDeployError as error:
        reason = one_line(error, _LINE_CHARS)
    return GpuInfo(note=f"{note}; CUDA: {reason}")
