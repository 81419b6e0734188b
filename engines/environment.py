"""What is installed on this machine and really loads; works without any optional package."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hrnet_deploy.errors import HrnetDeployError

PACKAGES = (
    *("numpy", "opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
    *("onnxruntime", "onnxruntime-gpu", "openvino", "torch", "onnx", "onnxscript", "onnxsim", "safetensors"),
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu13", "cuda-bindings", "pycuda"),
    "onnxruntime-ep-nv-tensorrt-rtx",
)
"""Distributions looked for."""
EXPORT_PACKAGES = ("torch", "onnx", "onnxscript", "onnxsim", "safetensors")
"""What exporting needs."""

# y = relu(x), opset 13: the least that makes a runtime load a provider; written out so that onnx is not needed.
_TINY_ONNX = (
    b'\x08\x08:3\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)
_DRIVER_TIMEOUT_S = 20
_LOG_NOTHING = 4
_LOG_WARNINGS = 2


@dataclass(frozen=True, kw_only=True)
class Device:
    """The first GPU of a machine.

    Attributes:
        name: as the driver says, such as "Tesla T4"; "" where there is none.
        capability: such as "sm75".
        driver: version of the NVIDIA driver, "" where unknown.
        count: how many GPUs there are.
        note: what was tried where none was found.
    """

    name: str = ""
    capability: str = ""
    driver: str = ""
    count: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What was found.

    Attributes:
        packages: version by distribution, of those in PACKAGES that are installed.
        providers: ONNX Runtime's, by short name such as "CUDA"; "" where it loads, else why it does not.
        tensorrt: version of TensorRT; "" where it is not installed or does not load.
        tensorrt_rtx: version of TensorRT-RTX, likewise.
        abilities: what each of the two and "openvino" can do, by name; or why an installed one does not load.
        half: what OpenVINO computes FP16 in on this CPU, such as "bfloat16"; "float32" on a CPU without half
            precision, "" where it is not installed or does not load.
        gpu: the first one, or that there is none.
        vnni: the CPU multiplies INT8 without saturating; None where that is unknown.
        arm: the CPU is an ARM one, for which packages hold code for other GPUs.
    """

    packages: Mapping[str, str] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    tensorrt: str = ""
    tensorrt_rtx: str = ""
    abilities: Mapping[str, str] = field(default_factory=dict)
    half: str = ""
    gpu: Device = Device()
    vnni: bool | None = None
    arm: bool = False

    @property
    def onnxruntime(self) -> str:
        """Version of ONNX Runtime, whichever build; "" where there is none."""
        return self.packages.get("onnxruntime-gpu") or self.packages.get("onnxruntime", "")


def look() -> Machine:
    """Look at this machine.

    Returns:
        What was found; nothing raises.
    """
    packages = _packages()
    tensorrt, tensorrt_rtx, abilities = _tensorrt()
    half, abilities["openvino"] = _openvino() if "openvino" in packages else ("", "")
    return Machine(
        packages=packages,
        providers=_providers() if {"onnxruntime", "onnxruntime-gpu"} & set(packages) else {},
        tensorrt=tensorrt,
        tensorrt_rtx=tensorrt_rtx,
        abilities=abilities,
        half=half,
        gpu=_gpu(),
        vnni=_vnni(),
        arm=platform.machine().lower() in {"aarch64", "arm64"},
    )


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _providers() -> dict[str, str]:
    """Which of ONNX Runtime's providers load: its own list says what was compiled in, not what the machine has."""
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        return {"CPU": _one_line(error)}
    found = {}
    from hrnet_deploy.engines.ort.libraries import preload_libraries

    preload_libraries()  # as an engine does it
    onnxruntime.set_default_logger_severity(_LOG_NOTHING)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_NOTHING
    for provider in onnxruntime.get_available_providers():
        name = provider.removesuffix("ExecutionProvider").replace("Tensorrt", "TensorRT")
        if name == "Azure":  # calls a web service; of no use here
            continue
        wanted = [provider] if name == "CPU" else [provider, "CPUExecutionProvider"]
        try:
            # Without a fallback it raises the reason, where it would print "EP Error ... Falling back".
            session = onnxruntime.InferenceSession(_TINY_ONNX, options, providers=wanted, enable_fallback=0)
            loaded = session.get_providers()[0] == provider
            found[name] = "" if loaded else _why_not(provider, Path(onnxruntime.__file__).parent)
        except Exception as error:  # noqa: BLE001  (its own types share no base but Exception)
            found[name] = _one_line(error)
    onnxruntime.set_default_logger_severity(_LOG_WARNINGS)
    return found


def _why_not(provider: str, package: Path) -> str:
    """The system's own words on why a provider's library does not load; ONNX Runtime keeps them to its log."""
    from hrnet_deploy.engines.ort.providers import CUDA, TENSORRT, missing_library

    reason = missing_library(provider, package / "capi") if provider in {CUDA, TENSORRT} else ""
    return reason or "it fell back to the CPU"


def _tensorrt() -> tuple[str, str, dict[str, str]]:
    versions, abilities = {}, {}
    from hrnet_deploy.artifact.plan_file import CLASSIC, RTX
    from hrnet_deploy.engines.tensorrt.api import find_api

    for flavour in (CLASSIC, RTX):
        try:
            api = find_api(flavour)
        except HrnetDeployError as error:
            if not isinstance(error.__cause__, ModuleNotFoundError):
                abilities[flavour] = _one_line(error.__cause__ or error)
            continue
        versions[flavour] = api.version
        names = {
            "typed graphs": api.strong_typing,
            "builder flags": api.weak_typing,
            "entropy calibrator": api.implicit_int8,
            "timing cache": api.timing_cache,
        }
        words = [name for name, there in names.items() if there]
        if api.compute_targets:
            words.append("builds for " + ", ".join(api.compute_targets))
        abilities[flavour] = "; ".join(words)
    return versions.get(CLASSIC, ""), versions.get(RTX, ""), abilities


def _openvino() -> tuple[str, str]:
    """What it computes FP16 in, and what it names as this CPU's abilities; or nothing and why it does not load."""
    from hrnet_deploy.engines.openvino.runtime import DTYPES, abilities, half_hint

    try:
        return DTYPES[half_hint()], ", ".join(sorted(abilities() & {"FP32", "FP16", "BF16", "INT8"}))
    except HrnetDeployError as error:
        return "", _one_line(error.__cause__ or error)


def _gpu() -> Device:
    """The first GPU, from the driver's own tool or else from CUDA."""
    program = shutil.which("nvidia-smi")
    note = "nvidia-smi: not found"
    if program:
        query = [program, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=_DRIVER_TIMEOUT_S, check=False)  # noqa: S603
            rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
            if done.returncode == 0 and rows and len(rows[0]) == 3:
                name, driver, capability = rows[0]
                sm = "sm" + capability.replace(".", "")
                return Device(name=name, driver=driver, capability=sm, count=len(rows))
            note = f"nvidia-smi: {_one_line(done.stdout or done.stderr) or 'no answer'}"
        except (OSError, subprocess.TimeoutExpired) as error:
            note = f"nvidia-smi: {_one_line(error)}"
    return _gpu_of_cuda(note)


def _gpu_of_cuda(note: str) -> Device:
    from hrnet_deploy.engines.cuda.provider import open_cuda

    try:
        cuda = open_cuda("cuda-python")
        count = cuda.device_count()
        if not count:
            return Device(note=f"{note}; CUDA: no GPU or no driver")
        return Device(name=cuda.device_name(0), capability=cuda.capability(0), count=count)
    except HrnetDeployError as error:
        missing = isinstance(error, ImportError)
        return Device(note=f"{note}; CUDA: " + ("cuda-bindings not installed" if missing else _one_line(error)))


def _vnni() -> bool | None:
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return None
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return "avx512_vnni" in flags or "avx_vnni" in flags


def _one_line(value: object) -> str:
    return " ".join(str(value).split())[:200]
