"""A journal of evaluated images, from which an interrupted evaluation resumes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from hrnet_deploy.errors import MissingFileError
from hrnet_deploy.evaluation.image_record import ImageRecord
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import JOURNAL_LINE_BYTES
from hrnet_deploy.system.regular_file import open_regular
from hrnet_deploy.system.write_errors import writing

_SCHEMA = 1


class Journal:
    """A file of one JSON line per image, named after everything the predictions depend on (`key`, ready for JSON)."""

    def __init__(self, folder: Path, key: Mapping[str, object]) -> None:
        self._key = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        self.path = folder / f"{self._key[:24]}.jsonl"

    def read(self, images: int, models: int, classes: int) -> Iterator[ImageRecord]:
        """Yield the records of earlier runs, at most one per image, in the order written."""
        seen: set[int] = set()
        try:
            with open_regular(self.path, "journal") as raw, io.BufferedReader(cast("io.RawIOBase", raw)) as file:
                if _parse(file.readline(JOURNAL_LINE_BYTES)) != self._header:
                    return
                while line := file.readline(JOURNAL_LINE_BYTES):
                    with contextlib.suppress(KeyError, TypeError, ValueError, IndexError, OverflowError):
                        record = ImageRecord.from_json(_parse(line), images, models, classes)
                        if record.index not in seen:
                            seen.add(record.index)
                            yield record
        except MissingFileError:
            return

    def open(self) -> None:
        """Create the file, or end a torn last line, before the first `write`."""
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                file.seek(0)
                if _parse(file.readline(JOURNAL_LINE_BYTES)) != self._header:
                    file.truncate(0)
                    file.write(json.dumps(self._header).encode() + b"\n")
                elif file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":  # the next record must not join a torn line
                    file.write(b"\n")

    def write(self, record: ImageRecord) -> None:
        """Append one record."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record.to_json()) + "\n")

    @property
    def _header(self) -> dict[str, object]:
        return {"schema": _SCHEMA, "key": self._key}


def _parse(line: bytes) -> object:
    try:
        return parse_json(line)
    except ValueError:
        return None
