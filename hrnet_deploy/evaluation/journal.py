"""A journal of answered images, so that an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.record import Record

_SCHEMA = 1


class Journal:
    """One JSON line an image, in a file named by what the answers depend on.

    Another artefact, image, label or setting means another file, so nothing stale is ever taken up. A line that is
    torn, as the last one of a killed run, counts as not written.

    Attributes:
        path: the file.
    """

    def __init__(self, folder: Path, facts: Mapping[str, object]) -> None:
        """Name the file; it is not opened yet.

        Args:
            folder: where journals lie; made if missing.
            facts: all that the answers depend on, ready for JSON.
        """
        self._key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self.path = folder / f"{self._key[:24]}.jsonl"
        self._file: IO[str] | None = None

    def read(self, images: int, answers: int, classes: int) -> list[Record]:
        """What earlier runs have answered.

        Args:
            images: number of images in the data set.
            answers: number of nets.
            classes: number of classes.

        Returns:
            One record an image, in order of images.

        Raises:
            UsageError: the file cannot be read.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(f"journal must be readable, got {error.strerror} for {self.path}. Delete it.") from error
        records: dict[int, Record] = {}
        header, *lines = content.split(b"\n")
        if _parsed(header) != self._header:
            return []
        for line in lines:
            with contextlib.suppress(KeyError, TypeError, ValueError, IndexError, OverflowError):
                record = Record.from_json(_parsed(line), images, answers, classes)
                records[record.index] = record
        return [records[index] for index in sorted(records)]

    def open(self, kept: Sequence[Record] = ()) -> None:
        """Start writing: the file is made anew with what was read of it, so torn lines go.

        Args:
            kept: records to write first.

        Raises:
            UsageError: the folder cannot be written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.path.with_suffix(".new")
            with fresh.open("w", encoding="utf-8") as file:
                for content in (self._header, *(record.to_json() for record in kept)):
                    file.write(json.dumps(content) + "\n")
            fresh.replace(self.path)
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"journal folder must be writable, got {self.path.parent} ({error.strerror}). Choose another."
            ) from error

    def write(self, record: Record) -> None:
        """Add one image; it is with the system when this returns.

        Args:
            record: the image.

        Raises:
            UsageError: the disk is full or gone.
        """
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(record.to_json()) + "\n")
            self._file.flush()
        except OSError as error:
            raise UsageError(
                f"journal must be writable, got {error.strerror} for {self.path}. Free some space."
            ) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _header(self) -> dict[str, object]:
        return {"schema": _SCHEMA, "key": self._key}


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
