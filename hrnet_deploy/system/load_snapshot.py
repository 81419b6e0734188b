"""The state of the machine during a measurement: processor, load, clocks and versions."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrnet_deploy.system.cores import cores
from hrnet_deploy.system.nvidia_smi import query_gpus
from hrnet_deploy.system.processor import clock_mhz, model_name, read_system_file
from hrnet_deploy.version import VERSION

_PACKAGES = (
    *("numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "onnxruntime-gpu"),
    *("openvino", "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu13", "cuda-bindings", "pycuda"),
)
_GPU_FIELDS = ("name", "driver_version", "clocks.sm", "clocks.max.sm", "temperature.gpu", "power.draw")
_SLOWED = 0.9


@dataclass(frozen=True, kw_only=True)
class CpuState:
    """The CPU at one moment: its usable cores, the first core's governor and clock, and the load of the last minute."""

    model: str
    cores: int
    governor: str = ""
    mhz: float | None = None
    max_mhz: float | None = None
    load: float | None = None

    @property
    def busy(self) -> bool:
        """Whether more processes were runnable than there are cores, which inflates times."""
        return self.load is not None and self.load > self.cores


@dataclass(frozen=True)
class GpuState:
    """One GPU at one moment, by nvidia-smi; None where a value is unknown."""

    name: str
    driver: str
    clock_mhz: float | None = None
    max_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None

    def __str__(self) -> str:
        at_most = f" of {self.max_clock_mhz:.0f}" if self.max_clock_mhz else ""
        clock = f", {self.clock_mhz:.0f}{at_most} MHz" if self.clock_mhz else ""
        warmth = f", {self.temperature_c:.0f} \N{DEGREE SIGN}C" if self.temperature_c is not None else ""
        return f"{self.name}, driver {self.driver}{clock}{warmth}"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A machine at one moment: local time (ISO 8601), its GPUs in the order of nvidia-smi, and versions of packages."""

    time: str
    system: str
    processor: CpuState
    python: str = ""
    gpus: tuple[GpuState, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return dataclasses.asdict(self)


def take_snapshot(root: Path = Path("/"), *, gpu: bool = True) -> Snapshot:
    """Record the state of this machine, read from /proc and /sys below `root`; nothing raises."""
    packages = {"hrnet-deploy": VERSION}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return Snapshot(
        time=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_cpu_state(root),
        python=platform.python_version(),
        gpus=gpu_states(query_gpus(*_GPU_FIELDS)[0]) if gpu else (),
        packages=packages,
    )


def warnings(before: Snapshot, after: Snapshot | None = None) -> list[str]:
    """List what may have distorted a measurement, one line each; `after` is None while it runs."""
    lines = []
    cpu = before.processor
    if cpu.load is not None and cpu.busy:
        lines.append(
            f"load before the start was {cpu.load:.1f} on {_count(cpu.cores, 'core')}: other work was running; "
            "figures are too slow and ratios uncertain; measure again when it is quiet"
        )
    if cpu.governor and cpu.governor != "performance":
        lines.append(f"CPU frequency is scaled (governor '{cpu.governor}'): cpupower frequency-set -g performance")
    if cpu.mhz and cpu.max_mhz and cpu.governor == "performance" and cpu.mhz < _SLOWED * cpu.max_mhz:
        lines.append(f"CPU ran at {cpu.mhz:.0f} of {cpu.max_mhz:.0f} MHz")
    # A GPU at rest lowers its clock; what counts is its clock right after the work.
    lines += [
        f"{gpu.name} ran at {gpu.clock_mhz:.0f} of {gpu.max_clock_mhz:.0f} MHz: its clock is not locked "
        "(nvidia-smi --lock-gpu-clocks)"
        for gpu in (after.gpus if after else ())
        if gpu.clock_mhz and gpu.max_clock_mhz and gpu.clock_mhz < _SLOWED * gpu.max_clock_mhz
    ]
    return lines


def describe(before: Snapshot, after: Snapshot) -> list[str]:
    """Describe the machine before and after a measurement: lines on the CPU, each GPU, the versions and the time."""
    cpu, load = before.processor, after.processor.load
    clock = f", {cpu.mhz:.0f} MHz" if cpu.mhz else ""
    governor = f", governor {cpu.governor}" if cpu.governor else ""
    lines = [f"CPU: {cpu.model}, {_count(cpu.cores, 'core')}{clock}{governor}"]
    if cpu.load is not None and load is not None:
        lines[0] += f"; load {cpu.load:.1f} before, {load:.1f} after"
    for ours, then in zip(before.gpus, after.gpus, strict=False):
        clocks = [f"{gpu.clock_mhz:.0f}" if gpu.clock_mhz else "?" for gpu in (ours, then)]
        at_most = f" of {ours.max_clock_mhz:.0f}" if ours.max_clock_mhz else ""
        lines.append(
            f"GPU: {ours.name}, driver {ours.driver}, clock {clocks[0]} MHz before, {clocks[1]} after{at_most}"
        )
    packages = ", ".join(f"{name} {version}" for name, version in before.packages.items())
    lines.append(f"{before.system}, Python {before.python}; {packages}")
    lines.append(f"measured {before.time} to {after.time}")
    return lines


def gpu_states(rows: Sequence[Sequence[str]]) -> tuple[GpuState, ...]:
    """Convert nvidia-smi's rows of name, driver, clocks, temperature and power."""
    return tuple(GpuState(name, driver, *map(_number, values)) for name, driver, *values in rows)


def _cpu_state(root: Path) -> CpuState:
    scaling = root / "sys/devices/system/cpu/cpu0/cpufreq"
    current = _number(read_system_file(scaling / "scaling_cur_freq"))
    highest = _number(read_system_file(scaling / "scaling_max_freq"))
    load = None
    with contextlib.suppress(OSError, AttributeError):
        load = round(os.getloadavg()[0], 2)
    return CpuState(
        model=model_name(root),
        cores=cores(),
        governor=read_system_file(scaling / "scaling_governor").strip(),
        mhz=current / 1e3 if current else clock_mhz(root),
        max_mhz=highest / 1e3 if highest else None,
        load=load,
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
