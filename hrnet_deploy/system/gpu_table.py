"""The runtimes that each NVIDIA GPU can use, with alternatives: one table with its sources, and the policy."""

from __future__ import annotations

import csv
import dataclasses
import enum
import functools
import itertools
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import Precision

NVIDIA_INDEX = "--extra-index-url https://pypi.nvidia.com"
"""TensorRT's libraries are on NVIDIA's package index only."""
FIRST_CUDA13_ONNXRUNTIME = (1, 27)
"""From this version on, onnxruntime-gpu on PyPI is built for CUDA 13. Source: its libraries, 1.26.0 and 1.31.1."""
NONE = "none"
"""Stands for no version."""
PROVIDER_TENSORRT_MAJOR = 10
"""Major version of TensorRT that onnxruntime-gpu's TensorRT provider links (libnvinfer.so.10). Source: the same."""

_EXTRA_OF_VOLTA = "10.4"
_NUMBERED = re.compile(r"(rtx)?(\d{4})(ti|super|laptop)*")


class Runtime(str, enum.Enum):
    """A runtime of artifacts on NVIDIA GPUs."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"
    ONNXRUNTIME_CUDA = "onnxruntime-cuda"
    ONNXRUNTIME_RTX = "onnxruntime-rtx"

    @property
    def label(self) -> str:
        """Name for people."""
        return {
            "tensorrt": "TensorRT",
            "tensorrt-rtx": "TensorRT-RTX",
            "onnxruntime-cuda": "ONNX Runtime CUDA",
            "onnxruntime-rtx": "ONNX Runtime RTX",
        }[self.value]


class Host(str, enum.Enum):
    """The kind of computer around a GPU."""

    ANY = "any"
    ARM = "arm"
    JETSON = "jetson"


@dataclass(frozen=True)
class Gpu:
    """A GPU, or all GPUs of one compute capability.

    Attributes:
        key: short name, such as "t4"; the product name is "Tesla T4".
        sm: compute capability, such as "sm75".
        host: the only kind of host that it comes with; ANY for a card in a slot.
        tensorrt_max: last TensorRT that runs there, such as "10.4"; "" where the newest does.
        onnxruntime_gpu_max: last onnxruntime-gpu on PyPI with code for it; "" where the newest has, NONE if none.
        onnxruntime_gpu_arm: the newest one for ARM hosts has code for it; it holds fewer architectures.
        rtx: TensorRT-RTX lists it.
        rtx_int8_convolution: TensorRT-RTX has INT8 convolutions for it.
        source: of the row; cuda-gpus and cuda-legacy-gpus are pages of developer.nvidia.com, support matrices and
            release notes of docs.nvidia.com/deeplearning.
    """

    key: str
    name: str
    sm: str
    architecture: str
    host: Host
    int8_tensor_cores: bool
    bf16: bool
    tensorrt_max: str
    onnxruntime_gpu_max: str
    onnxruntime_gpu_arm: bool
    rtx: bool
    rtx_int8_convolution: bool
    source: str

    def last_onnxruntime(self, *, arm: bool | None = None) -> str:
        """Return the last onnxruntime-gpu on PyPI with code for the GPU, "" or NONE; `arm` is that of `objection`."""
        on_arm = self.host is not Host.ANY if arm is None else arm
        return NONE if on_arm and not self.onnxruntime_gpu_arm else self.onnxruntime_gpu_max


@dataclass(frozen=True)
class Objection:
    """The reason why a GPU cannot use a runtime ("no INT8 tensor cores"), and the way that works ("use fp16")."""

    reason: str
    way: str


@functools.cache
def gpus() -> tuple[Gpu, ...]:
    """Return all rows of the table, the oldest GPU first."""
    text = files("hrnet_deploy.data").joinpath("gpus.csv").read_text(encoding="utf-8")
    return tuple(_gpu(row) for row in csv.DictReader(text.splitlines()))


def find_gpu(text: str) -> Gpu:
    """Find a GPU by a key ("t4"), a name ("Tesla V100-SXM2-16GB", "RTX 3090") or a capability ("sm86", "8.6").

    For a compute capability the row has the values that all its GPUs share. UsageError lists the known ones.
    """
    wanted = text.strip().lower()
    capability = re.fullmatch(r"(?:sm_?(\d{2,3}))|(?:(\d{1,2})\.(\d))", wanted)
    if capability:
        sm = f"sm{capability[1] or capability[2] + capability[3]}"
        for gpu in gpus():
            if gpu.sm == sm:
                return dataclasses.replace(gpu, key=sm, name=f"GPU of compute capability {sm[2:-1]}.{sm[-1]}")
    for gpu in gpus():
        if _named(gpu, wanted):
            return gpu
    known = ", ".join(gpu.key for gpu in gpus())
    raise UsageError(f"GPU must be one of {known}, or a capability such as sm86, got '{text:.60}'. See nvidia-smi.")


def objection(
    gpu: Gpu, runtime: Runtime, precision: Precision, version: str | None = None, *, arm: bool | None = None
) -> Objection | None:
    """Return why a runtime, of a version if known, cannot be used on a GPU in a precision; None where it can.

    `arm`: whether the host is an ARM computer; None for the GPU's own kind of host, else x86-64.
    """
    faster = "use fp16 or TensorRT" if gpu.int8_tensor_cores else "use fp16"
    tensorrt = "use JetPack's TensorRT" if gpu.host is Host.JETSON else "use TensorRT"
    if runtime in {Runtime.TENSORRT_RTX, Runtime.ONNXRUNTIME_RTX}:
        if not gpu.rtx:
            return Objection(f"{gpu.sm} is not on its list", tensorrt)
        if runtime is Runtime.ONNXRUNTIME_RTX and not gpu.bf16:  # as all cards before Ampere
            return Objection("the plugin needs Ampere or later", "use TensorRT-RTX")
        if precision is Precision.INT8 and not gpu.rtx_int8_convolution:
            return Objection("no INT8 convolution there", faster)
        return None
    last = gpu.last_onnxruntime(arm=arm) if runtime is Runtime.ONNXRUNTIME_CUDA else gpu.tensorrt_max
    if last == NONE:
        host = " on ARM" if gpu.onnxruntime_gpu_max != NONE else ""
        return Objection(f"the package on PyPI has no code for {gpu.sm}{host}", tensorrt)
    limit = version_numbers(last)
    if version and last and version_numbers(version)[: len(limit)] > limit:
        lines = [line for line in pip_lines(gpu) if ("onnxruntime" in line) is (runtime is Runtime.ONNXRUNTIME_CUDA)]
        way = tensorrt if gpu.host is Host.JETSON else lines[0]
        return Objection(f"{last} is its last version with code for {gpu.sm}, got {version}", way)
    if precision is Precision.INT8:
        if runtime is Runtime.ONNXRUNTIME_CUDA:
            return Objection("no INT8 convolution, Q/DQ runs slower than fp32", faster)
        if not gpu.int8_tensor_cores:
            return Objection("no INT8 tensor cores", faster)
    return None


def refusal(
    gpu: Gpu, runtime: Runtime, precision: Precision, version: str | None = None, *, arm: bool | None = None
) -> str | None:
    """Return the objection of `objection` and its alternative on one line; None where there is none.

    Source: the table's; CUDA provider without QLinearConv and ConvInteger: no such kernels in its library, and
    onnxruntime issues 12229 (T4) and 24807 (V100).
    """
    found = objection(gpu, runtime, precision, version, arm=arm)
    if found is None:
        return None
    way = found.way[0].upper() + found.way[1:] if found.way.startswith("use ") else found.way
    return f"{runtime.label} cannot usefully run {precision.value} on {gpu.name} ({gpu.sm}): {found.reason}. {way}"


def provider_refusal(tensorrt: str) -> str | None:
    """Return one line where ONNX Runtime's TensorRT provider does not work with this version of TensorRT."""
    if version_numbers(tensorrt)[:1] == (PROVIDER_TENSORRT_MAJOR,):
        return None
    return (
        f"ONNX Runtime's TensorRT provider links TensorRT {PROVIDER_TENSORRT_MAJOR}, got {tensorrt}. "
        f"Build an .engine instead (hrnet-export -o NAME.engine), or: {_PROVIDER_PIP}"
    )


_PROVIDER_PIP = f"pip install 'tensorrt-cu13>=10.13.2,<11' {NVIDIA_INDEX}"


def pip_lines(gpu: Gpu, *, arm: bool | None = None) -> tuple[str, ...]:
    """Return the pip commands for a GPU, one per runtime that supports it; `arm` is that of `objection`.

    Jetson boards have TensorRT and CUDA from JetPack, so that only the export is installed there.
    """
    last = gpu.last_onnxruntime(arm=arm)
    # CUDA 13 has no code for GPUs before Turing, hence CUDA 12 for all packages.
    extra, cuda12 = ("gpu-cu12", " 'cuda-bindings<13'") if last else ("gpu", "")
    lines = [f"pip install 'hrnet-deploy[export,{extra}]' 'onnxruntime-gpu[cuda,cudnn]'{cuda12}"]
    if last == NONE:
        lines = ["pip install 'hrnet-deploy[export,cpu]'"]
    if gpu.host is Host.JETSON:
        return tuple(lines)
    if gpu.tensorrt_max == _EXTRA_OF_VOLTA:
        lines.append(f"pip install 'hrnet-deploy[tensorrt-volta,cuda]' {NVIDIA_INDEX}")
    elif gpu.tensorrt_max:
        lines.append(f"pip install 'hrnet-deploy[cuda]' 'tensorrt=={gpu.tensorrt_max}.*' {NVIDIA_INDEX}")
    else:
        lines.append(f"pip install 'hrnet-deploy[tensorrt,cuda]' {NVIDIA_INDEX}")
    if gpu.rtx:
        lines.append("pip install 'hrnet-deploy[tensorrt-rtx,cuda]'")
    if objection(gpu, Runtime.ONNXRUNTIME_RTX, Precision.FP16) is None:
        lines.append("pip install 'hrnet-deploy[onnxruntime-rtx]'")
    return tuple(lines)


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version for comparisons: (10, 4, 0, 26) for "10.4.0.26"; () without any."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _named(gpu: Gpu, wanted: str) -> bool:
    words = re.findall(r"[a-z0-9]+", wanted)
    # Only GeForce numbers identify a chip: the Quadro RTX 4000 and the RTX 4000 Ada have different ones.
    if gpu.key in words or wanted == gpu.name.lower():
        return True
    if gpu.key == "rtxpro":  # RTX PRO 6000 Blackwell Server Edition, RTX PRO 4000 ...
        return any(pair == ("rtx", "pro") for pair in itertools.pairwise(words))
    if not gpu.key.endswith("xx") or "quadro" in words:
        return False
    numbered = (_NUMBERED.fullmatch(word) for word in words)
    return "rtx" in wanted and any(match and match[2] in gpu.name.split() for match in numbered)


def _gpu(row: dict[str, Any]) -> Gpu:
    flags = {entry.name: row[entry.name] == "yes" for entry in dataclasses.fields(Gpu) if entry.type in {"bool", bool}}
    return Gpu(**(row | flags | {"host": Host(row["host"])}))
