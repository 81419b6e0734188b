"""The table of the fuzz suite."""

import collections
import datetime as dt
import importlib.metadata
import platform
import shlex
import sys
from typing import Any

from hrnet_deploy.system.processor import model_name
from hrnet_deploy.version import VERSION

COLUMNS = {
    "tracebacks": "tracebacks",
    "crashes": "crashes",
    "hangs": "hangs over 10 s",
    "memory": "children over 2 GiB",
    "executions": "executions",
    "escapes": "escapes",
    "lookups": "look-ups",
    "controls": "control characters",
    "lines": "more than one line",
    "exit codes": "wrong exit codes",
    "half": "half-written files",
    "wrong": "wrong predictions",
}
_PACKAGES = ("numpy", "opencv-python-headless", "torch", "onnxruntime", "openvino", "onnx", "pillow", "safetensors")


def write_table(
    tallies: dict[str, list[Any]],
    controls: list[tuple[str, str, bool]],
    *,
    each: int,
    seed: int,
    seconds: float,
    limit_s: int,
) -> tuple[str, bool]:
    """Return the page in Markdown, and whether there are findings or silent detectors."""
    rows = {family: _row(parts) for family, parts in tallies.items()}
    total = [sum(row[i] for row in rows.values()) for i in range(3 + len(COLUMNS))]
    total += [max(row[i] for row in rows.values()) for i in (-2, -1)]
    heads = ["family", "inputs", "accepted", "refused in one line", *COLUMNS.values(), "slowest s", "largest MiB"]
    lines = [_line(heads), _line(["---"] + ["---:"] * (len(heads) - 1))]
    lines += [_line([family, *_shown(row)]) for family, row in rows.items()] + [_line(["**all**", *_shown(total)])]
    programs = sum(part.programs for parts in tallies.values() for part in parts)
    groups = sum((part.groups for parts in tallies.values() for part in parts), collections.Counter())
    found = [f"- {count} x `{kind}`".replace("\n", " ") for kind, count in groups.most_common()]
    silent = [name for name, _, fired in controls if not fired]
    text = "\n".join(
        [
            "# Hardening: hostile inputs", "",
            f"Each input runs in a child process with limits of {limit_s} s and 2 GiB; {programs:,} run as programs of",
            "their own, in which a preloaded library notes native look-ups. From 'tracebacks' on, only zero is good.",
            "", *lines, "", "## Findings", "", *(found or ["None."]), "", "## Positive controls", "",
            "Each detector ran on a function that does what it looks for.", "",
            _line(["control", "detector", "fired"]), _line(["---", "---", "---"]),
            *(_line([name, COLUMNS[kind], "yes" if fired else "**no**"]) for name, kind, fired in controls), "",
            "## Origin", "", *_origin(each, seed, seconds), "",
        ]
    )  # fmt: skip
    return text, bool(found or silent)


def _row(parts: list[Any]) -> list[float]:
    counts = [sum(getattr(part, name) for part in parts) for name in ("inputs", "accepted", "refused")]
    findings = [sum(part.findings[kind] for part in parts) for kind in COLUMNS]
    return [
        *counts,
        *findings,
        max(part.slowest_s for part in parts),
        max(part.largest_bytes for part in parts) / 2**20,
    ]


def _shown(row: list[float]) -> list[str]:
    return [*(f"{value:,}" for value in row[:-2]), f"{row[-2]:.1f}", f"{row[-1]:.0f}"]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _origin(each: int, seed: int, seconds: float) -> list[str]:
    installed = [f"{name} {_version(name)}" for name in _PACKAGES]
    command = shlex.join(["python", "-m", "attacks.fuzz", *sys.argv[1:]])
    day = dt.datetime.now(dt.timezone.utc).date()
    return [
        f"- Command: `{command}`; seed {seed}, numbers 0 to {each - 1} of each family.",
        f"- hrnet-deploy {VERSION}, Python {platform.python_version()}, {', '.join(installed)}",
        f"- {model_name() or platform.machine()}, {platform.platform()}, {day}, {seconds / 60:.1f} min",
    ]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
