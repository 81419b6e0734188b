"""What a report's times were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PACKAGES = (
    *("hrnet-deploy", "numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "onnxruntime-gpu"),
    *("openvino", "onnxruntime-ep-openvino", "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu13"),
)
_QUERY = "name,driver_version,clocks.sm,clocks.max.sm,temperature.gpu"
_TIMEOUT_S = 20


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """A machine while a report is made.

    Attributes:
        cpu: the processor's name.
        cores: how many this process may use.
        load: processes that wanted to run over the last minute; None where the system does not say.
        governor: the CPU's frequency policy, such as "performance"; "" where unknown.
        gpu: name, driver, clock, highest clock and temperature of the first GPU; "" where none was used.
        system: operating system and version.
        python: version.
        packages: version by distribution, of those that matter.
    """

    cpu: str
    cores: int
    load: float | None
    governor: str
    gpu: str
    system: str
    python: str
    packages: Mapping[str, str]

    @property
    def busy(self) -> bool:
        """Whether others wanted more of the machine than there is, so that times are inflated."""
        return self.load is not None and self.load > self.cores

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "cpu": self.cpu,
            "cores": self.cores,
            "load": self.load,
            "governor": self.governor,
            "gpu": self.gpu,
            "system": self.system,
            "python": self.python,
            "packages": dict(self.packages),
        }


def look(*, gpu: bool) -> MachineFacts:
    """Look at this machine.

    Args:
        gpu: whether to ask for the GPU's state.

    Returns:
        The facts; what cannot be found is empty.
    """
    return MachineFacts(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        governor=_text(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")).strip(),
        gpu=_gpu() if gpu else "",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages=_packages(),
    )


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _cpu() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return " ".join(value.split())
    return platform.processor() or platform.machine()


def _gpu() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = done.stdout.splitlines()
    cells = [cell.strip() for cell in lines[0].split(",")] if done.returncode == 0 and lines else []
    if len(cells) != len(_QUERY.split(",")):
        return ""
    name, driver, clock, highest, temperature = cells
    return f"{name}, driver {driver}, {clock} of {highest}, {temperature} \N{DEGREE SIGN}C"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
