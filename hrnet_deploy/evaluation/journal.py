"""A journal of answered images, so that an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.image_record import Record

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

    def read(self, images: int, answers: int, classes: int) -> Iterator[Record]:
        """What earlier runs have answered, one record at a time.

        Args:
            images: number of images in the data set.
            answers: number of nets.
            classes: number of classes.

        Yields:
            At most one record an image, in the order written.

        Raises:
            UsageError: the file cannot be read.
        """
        seen: set[int] = set()
        try:
            with self.path.open("rb") as file:
                if _parsed(file.readline()) != self._header:
                    return
                for line in file:
                    with contextlib.suppress(KeyError, TypeError, ValueError, IndexError, OverflowError):
                        record = Record.from_json(_parsed(line), images, answers, classes)
                        if record.index not in seen:
                            seen.add(record.index)
                            yield record
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"journal must be readable, got {error.strerror} for {self.path}. Delete it.") from error

    def open(self) -> None:
        """Start writing after what is there.

        Raises:
            UsageError: the folder cannot be written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                file.seek(0)
                if _parsed(file.readline()) != self._header:
                    file.truncate(0)
                    file.write(json.dumps(self._header).encode() + b"\n")
                elif file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":  # what follows must not join a torn line
                    file.write(b"\n")
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
