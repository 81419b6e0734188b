"""A file that is there in part until it is complete: `.partial`, and beside it the validator of its content."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import IO

_VALIDATOR = re.compile(r'"[!#-~]{0,200}"|[A-Za-z0-9,: -]{1,60}')  # a strong entity tag, or a date
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class PartialFile:
    """The part of a file that has arrived; links and pipes under its names are removed, not followed."""

    def __init__(self, path: Path) -> None:
        self._target = path
        self._path = path.with_name(path.name + ".partial")
        self._validator = path.with_name(path.name + ".partial.etag")

    def resume_point(self) -> tuple[int, str]:
        """Return the size that is there, and the validator of its content; 0 where it cannot be continued."""
        try:
            with self._opened(self._validator, os.O_RDONLY, "rb") as file:
                text = file.read(1000).decode("latin-1")
            status = self._path.lstat()
        except FileNotFoundError:
            return 0, ""
        if not stat.S_ISREG(status.st_mode) or not _VALIDATOR.fullmatch(text):
            return 0, ""
        return status.st_size, text

    @contextlib.contextmanager
    def open(self, start: int) -> Iterator[IO[bytes]]:
        """Open for reading and writing; what is there is kept only with a start above 0."""
        flags = os.O_RDWR if start else os.O_RDWR | os.O_CREAT | os.O_TRUNC
        with self._opened(self._path, flags, "r+b") as file:
            yield file

    def store_validator(self, headers: Message) -> None:
        """Keep the validator of a response, if it is one that a later request can send."""
        tag = headers.get("ETag") or ""
        # A weak tag guarantees equal meaning, not equal bytes; RFC 9110 forbids it in If-Range.
        text = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified") or ""
        with self._opened(self._validator, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "wb") as file:
            file.write(text.encode("latin-1") if _VALIDATOR.fullmatch(text) else b"")

    def finish(self) -> None:
        """Give the file its name."""
        self._validator.unlink(missing_ok=True)
        self._path.replace(self._target)

    def remove(self) -> None:
        """Forget what has arrived."""
        self._path.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)

    @staticmethod
    def _opened(path: Path, flags: int, mode: str) -> IO[bytes]:
        """Open a regular file; whatever else has the name is removed first."""
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(path.lstat().st_mode):
                path.unlink()
        return open(path, mode, opener=lambda name, _: os.open(name, flags | _NO_LINK, 0o666))
