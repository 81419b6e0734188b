"""Records of all runs, as JSON beside the report, and the report as Markdown."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from comparison import goals
from comparison.config import Key, Record, Suite
from comparison.table import Table
from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.system.load_snapshot import take_snapshot, warnings

_SEPARATOR = " "
_BASELINES = ("torch", "timm", "nncf", "pillow")


class ResultsStore:
    """Records by suite and group, each with its run; a later record replaces an earlier one.

    Attributes:
        path: JSON file that may exist; None keeps nothing.
    """

    def __init__(self, path: Path | None, command: str) -> None:
        self.path = path
        content: dict[str, Any] = {"runs": {}, "sections": {}}
        if path is not None and path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
        self._runs: dict[str, dict[str, Any]] = content["runs"]
        self._suites: dict[str, dict[str, Record]] = content["sections"]
        self._before, self._began = take_snapshot(), time.perf_counter()
        self._run = self._before.time
        self._command = command

    def records(self, suite: str) -> dict[Key, Record]:
        """Return the measured groups of a suite, failed ones included."""
        return {tuple(key.split(_SEPARATOR)): record for key, record in self._suites.get(suite, {}).items()}

    def runs(self) -> list[dict[str, Any]]:
        """Return runs that have records: `machine`, `command`, `began`, `seconds`, `load`, `warnings`."""
        return [self._runs[name] for name in sorted(self._used())]

    def put(self, suite: str, key: Key, record: Record) -> None:
        """Add a record and write the file."""
        self._suites.setdefault(suite, {})[_SEPARATOR.join(key)] = record | {"run": self._run}
        self._note_run()
        if self.path is not None:
            write_text(self.path, json.dumps(self.content()) + "\n")

    def content(self) -> dict[str, Any]:
        """Return everything as JSON."""
        runs = {name: run for name, run in self._runs.items() if name in self._used()}
        return {"runs": runs, "sections": self._suites}

    def _used(self) -> set[str]:
        return {record["run"] for records in self._suites.values() for record in records.values()}

    def _note_run(self) -> None:
        before, after = self._before, take_snapshot()
        cpu = before.processor
        versions = dict(before.packages)
        for name in _BASELINES:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                versions[name] = importlib.metadata.version(name)
        packages = ", ".join(f"{name} {version}" for name, version in versions.items())
        self._runs[self._run] = {
            "machine": f"{cpu.model}, {cpu.cores} cores; {before.system}, Python {before.python}; {packages}",
            "command": self._command,
            "began": before.time,
            "seconds": round(time.perf_counter() - self._began),
            "load": [cpu.load, after.processor.load],
            "warnings": warnings(before),
        }


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step."""
    with atomic_output(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def markdown(store: ResultsStore, suites: Mapping[str, Suite], names: Sequence[str], *, quick: bool) -> str:
    """Render the store; `names` are the models of a complete report."""
    missing: list[str] = []
    done: dict[str, dict[Key, Record]] = {}
    tables: list[Table] = []
    for name, suite in suites.items():
        records, wanted = store.records(name), suite.keys(names, quick=quick)
        order = [key for key in wanted if key in records] + [key for key in records if key not in wanted]
        done[name] = {key: records[key] for key in order if "failed" not in records[key]}
        table = suite.table(done[name])
        table.notes += [f"{' '.join(key)}: {records[key]['failed']}" for key in order if "failed" in records[key]]
        if absent := _absent(wanted, done[name]):
            missing.append(f"{name} ({', '.join(absent)})")
        if table.rows or table.notes:
            tables.append(table)
    head = ["# Comparison", "", *(f"- {line}" for line in _runs(store.runs()))]
    head.append(f"- Not measured: {'; '.join(missing)}" if missing else "- Everything was measured.")
    explained = (
        "Ratios are medians of pairs of calls from one round; above 1 that row is slower than ours. Random weights."
    )
    texts = ["\n".join([*head, "", explained, ""]), *(table.markdown() for table in tables)]
    return "\n".join([*texts, goals.table(done).markdown()])


def _absent(wanted: Sequence[Key], done: Collection[Key]) -> list[str]:
    """Name what is missing, in as few words: all of a suite, all of a model, or a group."""
    if not any(key in done for key in wanted):
        return ["all of it"]
    by_model: dict[str, list[Key]] = {}
    for key in wanted:
        by_model.setdefault(key[0], []).append(key)
    absent: list[str] = []
    for model, keys in by_model.items():
        left = [" ".join(key) for key in keys if key not in done]
        absent += [model] if len(left) == len(keys) else left
    return absent


def _runs(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe machines, then runs."""
    lines = list(dict.fromkeys(run["machine"] for run in runs))
    for run in runs:
        before, after = run["load"]
        lines.append(f"{run['began']}, {run['seconds']} s, load {before} before and {after} after: `{run['command']}`")
        lines += run["warnings"]
    return lines
