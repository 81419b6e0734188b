"""What was measured so far, kept as JSON beside the report, whichever run measured it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import time
from pathlib import Path
from typing import Any

from contest.section import Key, Record
from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.system.load_snapshot import take_snapshot, warnings

_SEPARATOR = " "
_PEERS = ("torch", "timm", "nncf", "pillow")


class Ledger:
    """Records by section and group, each with the run that made it; later ones replace earlier ones.

    Attributes:
        path: JSON file; None keeps nothing.
    """

    def __init__(self, path: Path | None, command: str) -> None:
        """Read what earlier runs left.

        Args:
            path: JSON file that may exist; None for none.
            command: this run, in words.
        """
        self.path = path
        content: dict[str, Any] = {"runs": {}, "sections": {}}
        if path is not None and path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
        self._runs: dict[str, dict[str, Any]] = content["runs"]
        self._sections: dict[str, dict[str, Record]] = content["sections"]
        self._before, self._began = take_snapshot(), time.perf_counter()
        self._run = self._before.time
        self._command = command

    def records(self, section: str) -> dict[Key, Record]:
        """Groups of a section that were measured, those that failed included."""
        return {tuple(key.split(_SEPARATOR)): record for key, record in self._sections.get(section, {}).items()}

    def runs(self) -> list[dict[str, Any]]:
        """Runs of which there are records: `machine`, `command`, `began`, `seconds`, `load`, `warnings`."""
        return [self._runs[name] for name in sorted(self._used())]

    def put(self, section: str, key: Key, record: Record) -> None:
        """Add a record and write the file.

        Args:
            section: name.
            key: group, of words without spaces.
            record: of it.
        """
        self._sections.setdefault(section, {})[_SEPARATOR.join(key)] = record | {"run": self._run}
        self._note_run()
        if self.path is not None:
            write_text(self.path, json.dumps(self.content()) + "\n")

    def content(self) -> dict[str, Any]:
        """All of it, as JSON."""
        runs = {name: run for name, run in self._runs.items() if name in self._used()}
        return {"runs": runs, "sections": self._sections}

    def _used(self) -> set[str]:
        return {record["run"] for records in self._sections.values() for record in records.values()}

    def _note_run(self) -> None:
        before, after = self._before, take_snapshot()
        cpu = before.processor
        versions = dict(before.packages)
        for name in _PEERS:
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
    """Write a file that is either as it was or complete.

    Args:
        path: of it.
        text: of it.
    """
    with atomic_output(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
