"""Conflicts between the packages, the driver and the GPU of a machine, each with the command that repairs it."""

from __future__ import annotations

from dataclasses import dataclass

from hrnet_deploy.engines.environment import Environment
from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.gpu_table import (
    FIRST_CUDA13_ONNXRUNTIME,
    NONE,
    NVIDIA_INDEX,
    Gpu,
    Host,
    Runtime,
    find_gpu,
    objection,
    pip_lines,
    provider_refusal,
    version_numbers,
)

_CUDA13_DRIVER = 580
"""First driver branch that runs CUDA 13. Source: TensorRT's cu13 packages ask for r580."""


@dataclass(frozen=True)
class Problem:
    """A conflict, described on one line, and the command that repairs it."""

    text: str
    command: str


def problems(machine: Environment) -> tuple[Problem, ...]:
    """List the conflicts that `probe_environment` shows; the first is the one to repair first."""
    versions = [*_unsupported_gpu(machine), *_cuda_conflicts(machine)]
    reason = machine.providers.get("CUDA", "")
    # A package of the wrong version also fails to load: then the version is the problem.
    if machine.gpu.name and reason and not versions:
        command = f"pip install 'onnxruntime-gpu[cuda,cudnn]=={machine.onnxruntime}'"
        versions = [Problem(f"ONNX Runtime's CUDA provider does not load: {reason}", command)]
    found = [*_package_conflicts(machine), *versions]
    refused = provider_refusal(machine.tensorrt) if machine.tensorrt and "TensorRT" in machine.providers else None
    if refused:
        text, _, command = refused.partition(" Build an .engine instead")
        found.append(Problem(f"{text} .engine files are not affected.", command.partition("or: ")[2]))
    # One command may repair several; it is shown once.
    return tuple({problem.command: problem for problem in reversed(found)}.values())[::-1]


def _package_conflicts(machine: Environment) -> list[Problem]:
    found = []
    if {"onnxruntime", "onnxruntime-gpu"} <= set(machine.packages):
        gpu = _gpu_row(machine)
        last = gpu.last_onnxruntime(arm=machine.arm) if gpu else ""
        extra = "cpu" if not machine.gpu.name or last == NONE else "gpu-cu12" if last else "gpu"
        command = f"pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'hrnet-deploy[{extra}]'"
        found.append(Problem("onnxruntime and onnxruntime-gpu overwrite each other's files; keep one.", command))
    opencv = [name for name in machine.packages if name.startswith("opencv-")]
    if len(opencv) > 1:
        command = f"pip uninstall -y {' '.join(opencv)} && pip install opencv-python-headless"
        found.append(Problem(f"{' and '.join(opencv)} overwrite each other's files; keep one.", command))
    return found


def _cuda_conflicts(machine: Environment) -> list[Problem]:
    majors = _cuda_majors(machine)
    driver = version_numbers(machine.gpu.driver)
    newer = [name for name, major in majors.items() if major == 13]
    outdated = bool(driver) and driver[0] < _CUDA13_DRIVER
    if outdated and newer:
        text = f"{newer[0]} needs CUDA 13 and driver {_CUDA13_DRIVER} or newer, got {machine.gpu.driver}."
    elif len(set(majors.values())) > 1:
        text = "CUDA majors differ: " + ", ".join(f"{name} has {major}" for name, major in majors.items()) + "."
    else:
        return []
    gpu = _gpu_row(machine)
    if gpu and (gpu.host is Host.JETSON or gpu.last_onnxruntime(arm=machine.arm) not in {"", NONE}):
        return [Problem(text, pip_lines(gpu, arm=machine.arm)[0])]
    cuda12 = f"pip install 'hrnet-deploy[gpu-cu12,tensorrt-cu12,cuda]' 'cuda-bindings<13' {NVIDIA_INDEX}"
    cuda13 = f"pip install 'hrnet-deploy[gpu,tensorrt,cuda]' 'cuda-bindings>=13' {NVIDIA_INDEX}"
    return [Problem(text, cuda12 if outdated else cuda13)]


def _cuda_majors(machine: Environment) -> dict[str, int]:
    """Return the CUDA major of each package that needs a certain one."""
    majors = {}
    if version := version_numbers(machine.packages.get("onnxruntime-gpu", "")):
        majors["onnxruntime-gpu"] = 13 if version >= FIRST_CUDA13_ONNXRUNTIME else 12
    for major in (12, 13):
        if f"tensorrt-cu{major}" in machine.packages:
            majors["tensorrt"] = major
    if version := version_numbers(machine.packages.get("cuda-bindings", "")):
        majors["cuda-bindings"] = version[0]
    return majors if "onnxruntime-gpu" in majors or "tensorrt" in majors else {}


def _unsupported_gpu(machine: Environment) -> list[Problem]:
    gpu = _gpu_row(machine)
    if gpu is None:
        return []
    versions = {
        Runtime.TENSORRT: machine.tensorrt,
        Runtime.ONNXRUNTIME_CUDA: machine.packages.get("onnxruntime-gpu", ""),
    }
    lines = pip_lines(gpu, arm=machine.arm)
    others = {
        Runtime.ONNXRUNTIME_CUDA: next((line for line in lines if "[tensorrt" in line), lines[0]),
        Runtime.TENSORRT: "pip uninstall -y tensorrt tensorrt-cu12 tensorrt-cu13",  # JetPack's own is then found
    }
    found = []
    for runtime, version in versions.items():
        if version and (o := objection(gpu, runtime, Precision.FP32, version, arm=machine.arm)):
            command = o.way if o.way.startswith("pip ") else others[runtime]
            found.append(Problem(f"{runtime.label} on {machine.gpu.name}: {o.reason}.", command))
    return found


def _gpu_row(machine: Environment) -> Gpu | None:
    try:
        return find_gpu(machine.gpu.capability)
    except UsageError:
        return None
