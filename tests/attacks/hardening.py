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

DETECTORS = {
    "tracebacks": ("tracebacks", "A traceback, exit code 70, or the words 'internal error' on standard error."),
    "crashes": ("crashes", "A signal ended the child."),
    "hangs": ("hangs", "The child ran longer than the limit, without the time that it waited for a core."),
    "memory": ("> 2 GiB", "The child took more than 2 GiB beyond what it was forked with."),
    "executions": (
        "executions",
        (
            "An audit hook saw a program start, a pickle resolve a dangerous name, or an import of the canary "
            "module; or a marker file appeared."
        ),
    ),
    "escapes": (
        "escapes",
        (
            "An audit hook or a preloaded library saw a canary file opened, or the hook saw a write outside the "
            "folders of the case."
        ),
    ),
    "lookups": ("look-ups", "A name was resolved, or an address other than the loopback one was connected to."),
    "controls": (
        "control characters",
        (
            "Standard output or error holds a control character other than a line end or tab, a mark of text "
            "direction, a line separator, or bytes that are not UTF-8. JSON escapes are allowed."
        ),
    ),
    "lines": (
        "not one line",
        (
            "After a failure standard error holds nothing, or a line that no command wrote. Its warnings and "
            "suggestions are allowed."
        ),
    ),
    "exit codes": ("exit codes", "An exit code other than 0, 1, 2, 3 and 130."),
    "half": ("half files", "A failed export left an output file."),
    "wrong": ("wrong", "The command succeeded with another prediction than that of the sound files."),
}
"""By kind: the heading of its column, and what is found."""
_PACKAGES = ("numpy", "opencv-python-headless", "torch", "onnxruntime", "openvino", "onnx", "pillow", "safetensors")


def write_table(
    tallies: dict[str, list[Any]],
    controls: list[tuple[str, str, bool]],
    *,
    each: int,
    seed: int,
    seconds: float,
    limit_s: int,
    note: str = "",
) -> tuple[str, bool]:
    """Return the page in Markdown, and whether there are findings or silent detectors."""
    rows = {family: _row(parts) for family, parts in tallies.items()}
    total = [sum(row[i] for row in rows.values()) for i in range(3 + len(DETECTORS))]
    total += [max(row[i] for row in rows.values()) for i in (-3, -2)]
    total += [sum(part.cpu_s for parts in tallies.values() for part in parts) / max(1, total[0]) * 1000]
    shown = [heading for heading, _ in DETECTORS.values()]
    heads = ["family", "inputs", "accepted", "refused", *shown, "slowest s", "largest MiB", "CPU ms each"]
    lines = [_line(heads), _line(["---"] + ["---:"] * (len(heads) - 1))]
    lines += [_line([family, *_shown(row)]) for family, row in rows.items()] + [_line(["**all**", *_shown(total)])]
    programs = sum(part.programs for parts in tallies.values() for part in parts)
    groups = sum((part.groups for parts in tallies.values() for part in parts), collections.Counter())
    found = [f"- {count} x `{kind}`".replace("\n", " ") for kind, count in groups.most_common()]
    silent = [name for name, _, fired in controls if not fired]
    text = "\n".join(
        [
            "# Hardening: hostile inputs", "",
            f"{note}Each input runs in a child process with limits of {limit_s} s and 2 GiB; {programs:,} of them",
            "run as programs of their own. A preloaded library notes native look-ups and opened canaries. An input is",
            "accepted (exit code 0) or refused in one line; the other columns count faults, and only zero is good.",
            "", *lines, "", "## Findings", "", *(found or ["None."]), "", "## Detectors", "",
            *(f"- **{heading}**: {text}" for heading, text in DETECTORS.values()), "", "## Positive controls", "",
            "Each detector ran on a function that does what it looks for.", "",
            _line(["control", "detector", "fired"]), _line(["---", "---", "---"]),
            *(_line([name, DETECTORS[kind][0], "yes" if fired else "**no**"]) for name, kind, fired in controls), "",
            "## Origin", "", *_origin(each, seed, seconds), "",
        ]
    )  # fmt: skip
    return text, bool(found or silent)


def _row(parts: list[Any]) -> list[float]:
    counts = [sum(getattr(part, name) for part in parts) for name in ("inputs", "accepted", "refused")]
    findings = [sum(part.findings[kind] for part in parts) for kind in DETECTORS]
    return [
        *counts,
        *findings,
        max((part.slowest_s for part in parts), default=0.0),
        max((part.largest_bytes for part in parts), default=0) / 2**20,
        sum(part.cpu_s for part in parts) / max(1, counts[0]) * 1000,
    ]


def _shown(row: list[float]) -> list[str]:
    return [*(f"{value:,}" for value in row[:-3]), f"{row[-3]:.1f}", f"{row[-2]:.0f}", f"{row[-1]:.0f}"]


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
