"""The manifest of an output folder: what was predicted from what, and which parts are finished."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.batch_prediction.part_writer import part_digest, part_name
from hrnet_deploy.errors import MissingFileError, UsageError
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import LIST_FILE_BYTES
from hrnet_deploy.system.regular_file import read_regular
from hrnet_deploy.system.write_errors import writing

_MANIFEST_NAME = "_manifest.json"  # Arrow and Spark skip names with a low line
_PROGRESS_NAME = "_progress.jsonl"
_SCHEMA = 1


@dataclass(frozen=True)
class Part:
    """A finished part.

    Attributes:
        number: position in the run, from 0.
        file: file or folder below the output folder.
        images: rows.
        errors: rows with an error.
        sha256: as `part_digest`.
        runtime: backend, number types and kind of device that computed it.
    """

    number: int
    file: str
    images: int
    errors: int
    sha256: str
    runtime: str


class Manifest:
    """What an output folder holds: a key, which everything in it depends on, and its finished parts.

    `_progress.jsonl` gains a line for each part while a run lasts; at the end all lines move into `_manifest.json`.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any]) -> None:
        self._folder = folder
        self._key = {"schema": _SCHEMA, **key}

    def open(self) -> dict[int, Part]:
        """Claim the folder, and return by number the parts of earlier runs that are whole.

        UsageError: the folder holds other files, or results of another artifact, option or input.
        """
        path = self._folder / _MANIFEST_NAME
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            # A run that ended before its first manifest leaves a progress file alone.
            names = {each.name for each in self._folder.iterdir() if not each.name.startswith(".")}
            if not path.exists() and names - {_PROGRESS_NAME}:
                raise UsageError(
                    f"output folder must be new, empty or of an earlier run, got {self._folder}. Choose another."
                )
            found = _read_json(read_regular(path, "manifest", LIST_FILE_BYTES)) if path.exists() else None
        if not any(self._folder.glob("part-*")):  # a run that ended before its first part binds nobody
            parts: dict[int, Part] = {}
        else:
            self._check_key(found)
            parts = {part.number: part for part in self._recorded(found) if self._is_whole(part)}
        self._write_progress(parts.values())  # first: a run that ends here must find them
        self._write({"complete": False})
        return parts

    def record(self, part: Part) -> None:
        """Add a finished part."""
        with writing(self._folder), (self._folder / _PROGRESS_NAME).open("ab") as file:
            file.write(_line(part))

    def finish(self, parts: Collection[Part]) -> None:
        """Write the final manifest, which depends neither on the executor nor on interruptions."""
        lost = next((part.file for part in parts if not (self._folder / part.file).exists()), None)
        if lost is not None:
            raise UsageError(f"output folder {self._folder} must be shared by all workers, got no {lost}. Share it.")
        ordered = sorted(parts, key=lambda part: part.number)
        entries = [{name: value for name, value in asdict(part).items() if name != "runtime"} for part in ordered]
        self._write({"complete": True, "runtime": ordered[0].runtime, "parts": entries})
        with writing(self._folder):
            (self._folder / _PROGRESS_NAME).unlink(missing_ok=True)

    def _check_key(self, found: Any) -> None:
        """Refuse a manifest of another run, and name the first difference."""
        theirs = found.get("run") if isinstance(found, dict) else None
        if not isinstance(theirs, dict):
            raise UsageError(f"manifest must be readable, got other content in {self._folder}. Choose another folder.")
        for name in [*self._key, *theirs]:
            if self._key.get(name) != theirs.get(name):
                raise UsageError(
                    f"output folder {self._folder} must be of the same artifact, options and inputs, got {name} "
                    f"{self._key.get(name)!r:.80}, was {theirs.get(name)!r:.80}. Choose another folder, or delete it."
                )

    def _recorded(self, manifest: Any) -> Iterator[Part]:
        """Yield the parts of the final manifest and of the progress file; a torn line is skipped."""
        entries = manifest.get("parts")
        entries = entries if isinstance(entries, list) else []
        found = [{"runtime": manifest.get("runtime"), **entry} for entry in entries if isinstance(entry, dict)]
        with contextlib.suppress(MissingFileError):
            lines = read_regular(self._folder / _PROGRESS_NAME, "progress file", LIST_FILE_BYTES).splitlines()
            found += [entry for entry in map(_read_json, lines) if isinstance(entry, dict)]
        for entry in found:
            with contextlib.suppress(TypeError):
                yield Part(**entry)

    def _is_whole(self, part: Part) -> bool:
        try:
            named = part.file == part_name(part.number, self._key["format"])
            return named and part_digest(self._folder / part.file) == part.sha256
        except (OSError, ValueError, TypeError):
            return False

    def _write(self, state: Mapping[str, Any]) -> None:
        with atomic_output(self._folder / _MANIFEST_NAME) as temporary:
            temporary.write_text(json.dumps({"run": self._key, **state}, indent=1) + "\n")

    def _write_progress(self, parts: Iterable[Part]) -> None:
        with atomic_output(self._folder / _PROGRESS_NAME) as temporary:
            temporary.write_bytes(b"".join(map(_line, parts)))


def _line(part: Part) -> bytes:
    return json.dumps(asdict(part)).encode() + b"\n"


def _read_json(content: bytes) -> Any:
    try:
        return parse_json(content, file_names=True)
    except ValueError:
        return None
