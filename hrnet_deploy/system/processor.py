"""The CPU: architecture, model and instruction sets."""

from __future__ import annotations

import functools
import platform
import re
from pathlib import Path

_CPUINFO = "proc/cpuinfo"
_LIMIT_BYTES = 1 << 20


def is_arm() -> bool:
    """Return whether the CPU is an ARM one, for which packages hold code for other GPUs."""
    return platform.machine().lower() in {"aarch64", "arm64"}


def has_vnni() -> bool | None:
    """Return whether the CPU multiplies INT8 without saturating; None where the system does not report it."""
    flags = read_system_file(Path("/") / _CPUINFO)
    if not flags or platform.machine().lower() not in {"x86_64", "amd64"}:
        return None
    return "avx512_vnni" in flags or "avx_vnni" in flags


def model_name(root: Path = Path("/")) -> str:
    """Return the name of the CPU, such as "AMD EPYC 9654"; `root` holds the /proc that is read."""
    found = re.search(r"^model name[ \t]*:[ \t]*(\S.*)$", read_system_file(root / _CPUINFO), re.MULTILINE)
    return (found[1].strip() if found else "") or platform.processor() or platform.machine() or "unknown"


def clock_mhz(root: Path = Path("/")) -> float | None:
    """Return the clock of the first core from /proc/cpuinfo in MHz; None where it is not listed."""
    found = re.search(r"^cpu MHz[ \t]*:[ \t]*(\d+(?:\.\d+)?)", read_system_file(root / _CPUINFO), re.MULTILINE)
    return float(found[1]) if found else None


@functools.cache
def processor_key() -> str:
    """Return a text that differs between kinds of CPU: architecture, model and instruction sets."""
    content = read_system_file(Path("/") / _CPUINFO)
    lines = sorted(set(re.findall(r"^(?:model name|flags|Features|CPU part)\s*:.*$", content, re.MULTILINE)))
    return "\n".join((platform.machine(), platform.processor(), *lines))


def read_system_file(path: Path) -> str:
    """Return the text of a file in /proc or /sys; "" where there is none."""
    try:
        with path.open("rb") as stream:
            return stream.read(_LIMIT_BYTES).decode(errors="replace")
    except OSError:
        return ""
