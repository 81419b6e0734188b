"""The machine while it is measured: processor, load, clocks, versions; all that can explain a figure."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrnet_deploy.system.cores import cores
from hrnet_deploy.version import VERSION

_PACKAGES = (
    *("numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "onnxruntime-gpu"),
    *("openvino", "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu13", "cuda-bindings", "pycuda"),
)
_GPU_FIELDS = ("name", "driver_version", "clocks.sm", "clocks.max.sm", "temperature.gpu", "power.draw")
_TIMEOUT_S = 20
_SLOWED = 0.9
_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Processor:
    """The CPU.

    Attributes:
        model: as the system names it.
        cores: that this process may use.
        governor: of the first core, "" where the system does not say.
        mhz: now, of the first core; None where unknown.
        max_mhz: at most; None where unknown.
        load: mean number of runnable processes over the last minute; None where unknown.
    """

    model: str
    cores: int
    governor: str = ""
    mhz: float | None = None
    max_mhz: float | None = None
    load: float | None = None

    @property
    def busy(self) -> bool:
        """Whether more wanted to run than there are cores, so that times are inflated."""
        return self.load is not None and self.load > self.cores


@dataclass(frozen=True, kw_only=True)
class Graphics:
    """A GPU, as nvidia-smi tells.

    Attributes:
        name: such as "Tesla T4".
        driver: version.
        clock_mhz: of the multiprocessors, now; None where unknown.
        max_clock_mhz: at most.
        temperature_c: degrees Celsius.
        power_w: watts.
    """

    name: str
    driver: str
    clock_mhz: float | None = None
    max_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None

    def __str__(self) -> str:
        """What is known of it, on one line."""
        at_most = f" of {self.max_clock_mhz:.0f}" if self.max_clock_mhz else ""
        clock = f", {self.clock_mhz:.0f}{at_most} MHz" if self.clock_mhz else ""
        warmth = f", {self.temperature_c:.0f} \N{DEGREE SIGN}C" if self.temperature_c is not None else ""
        return f"{self.name}, driver {self.driver}{clock}{warmth}"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A machine at one moment.

    Attributes:
        time: local, ISO 8601 with the offset.
        system: such as "Linux 6.8.0 x86_64".
        processor: the CPU.
        python: version.
        gpus: as nvidia-smi lists them; empty without one, or where none was asked for.
        packages: version by distribution, ours included.
    """

    time: str
    system: str
    processor: Processor
    python: str = ""
    gpus: tuple[Graphics, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)


def look(root: Path = Path("/"), *, gpu: bool = True) -> Snapshot:
    """Look at this machine; nothing raises.

    Args:
        root: of the file system whose /proc and /sys are read.
        gpu: whether to ask for the GPUs.

    Returns:
        What can be seen.
    """
    packages = {"hrnet-deploy": VERSION}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return Snapshot(
        time=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_processor(root),
        python=platform.python_version(),
        gpus=_gpus() if gpu else (),
        packages=packages,
    )


def warnings(before: Snapshot, after: Snapshot | None = None) -> list[str]:
    """What may have spoilt a measurement.

    Args:
        before: the machine before.
        after: and after; None where it has not ended yet.

    Returns:
        One line each; empty where nothing was seen.
    """
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
    # A GPU at rest lowers its clock; what counts is where it stood right after the work.
    lines += [
        f"{gpu.name} ran at {gpu.clock_mhz:.0f} of {gpu.max_clock_mhz:.0f} MHz: its clock is not locked "
        "(nvidia-smi --lock-gpu-clocks)"
        for gpu in (after.gpus if after else ())
        if gpu.clock_mhz and gpu.max_clock_mhz and gpu.clock_mhz < _SLOWED * gpu.max_clock_mhz
    ]
    return lines


def describe(before: Snapshot, after: Snapshot) -> list[str]:
    """The machine in words.

    Args:
        before: the machine before the measurement.
        after: and after it.

    Returns:
        Lines for a person.
    """
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


def parse_gpus(text: str) -> tuple[Graphics, ...]:
    """Read nvidia-smi's answer.

    Args:
        text: CSV without header or units, one GPU a line.

    Returns:
        The GPUs; lines that are none are left out.
    """
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == len(_GPU_FIELDS):
            clock, at_most, temperature, power = map(_number, cells[2:])
            found.append(
                Graphics(
                    name=cells[0],
                    driver=cells[1],
                    clock_mhz=clock,
                    max_clock_mhz=at_most,
                    temperature_c=temperature,
                    power_w=power,
                )
            )
    return tuple(found)


def _processor(root: Path) -> Processor:
    cpuinfo = _text(root / "proc/cpuinfo")
    lines = [line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line]
    entries = {key.strip(): value.strip() for key, value in reversed(lines)}
    scaling = root / "sys/devices/system/cpu/cpu0/cpufreq"
    now = _number(_text(scaling / "scaling_cur_freq"))
    at_most = _number(_text(scaling / "scaling_max_freq"))
    load = None
    with contextlib.suppress(OSError, AttributeError):
        load = round(os.getloadavg()[0], 2)
    return Processor(
        model=entries.get("model name") or platform.processor() or platform.machine() or "unknown",
        cores=cores(),
        governor=_text(scaling / "scaling_governor").strip(),
        mhz=now / 1e3 if now else _number(entries.get("cpu MHz", "")),
        max_mhz=at_most / 1e3 if at_most else None,
        load=load,
    )


def _gpus() -> tuple[Graphics, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query: Sequence[str] = [program, f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ()
    return parse_gpus(done.stdout) if done.returncode == 0 else ()


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(_LIMIT_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
