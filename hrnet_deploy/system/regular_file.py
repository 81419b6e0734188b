"""Files of other people, opened only if they are regular, so that a read ends and its size is known before it begins.

A pipe, a device or a socket may have no end, and opening one may wait forever. They are refused unless the environment
variable HRNET_DEPLOY_ALLOW_SPECIAL is set, which `--allow-special` does; then a read ends at its limit.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hrnet_deploy.errors import HrnetDeployError, MissingFileError, UsageError

ALLOW_SPECIAL = "HRNET_DEPLOY_ALLOW_SPECIAL"
"""Environment variable: "1" allows pipes, devices and sockets as input files, in worker processes, too."""

_CHUNK_BYTES = 1 << 20
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


@contextlib.contextmanager
def open_regular(path: Path, what: str, error_type: type[HrnetDeployError] = UsageError) -> Iterator[IO[bytes]]:
    """Open a regular file for reading, unbuffered.

    Args:
        path: the file; symbolic links are followed.
        what: name of the file in errors, such as "class file"; the path is added.
        error_type: type of all errors but a missing file.

    Yields:
        The open file.

    Raises:
        MissingFileError: there is no such file.
        HrnetDeployError: of `error_type`; a folder, a special file, no permission, a path that no file can have, or a
            failed read; other errors of the caller's block pass unchanged.
    """
    try:
        file = open(path, "rb", buffering=0, opener=_open_without_waiting)  # noqa: SIM115 - closed below
    except (OSError, ValueError) as error:
        raise _translation(path, what, error_type, error) from error
    with file:
        _check_mode(os.fstat(file.fileno()).st_mode, path, what, error_type)
        try:
            yield file
        except HrnetDeployError:
            raise
        except OSError as error:
            if error.filename is not None:  # of another file, which the caller opened
                raise
            raise _unreadable(path, what, error_type, error) from error


def check_regular(path: Path, what: str, error_type: type[HrnetDeployError] = UsageError) -> None:
    """Refuse what `open_regular` refuses, before a library opens the file by name; arguments and errors as there."""
    with translated(path, what, error_type):
        mode = os.stat(path).st_mode  # noqa: PTH116 - also of a text
    _check_mode(mode, path, what, error_type)


def _check_mode(mode: int, path: Path, what: str, error_type: type[HrnetDeployError]) -> None:
    """Refuse folders, and special files unless they are allowed."""
    if stat.S_ISREG(mode) or os.environ.get(ALLOW_SPECIAL) == "1":
        return
    if stat.S_ISDIR(mode):
        raise error_type(f"{what} must be a file, got the folder {path}. Name a file.")
    kind = _KINDS.get(stat.S_IFMT(mode), "a special file")
    raise error_type(
        f"{what} must be a regular file, got {kind} at {path}. Copy its content to a file; where it is meant, add "
        "--allow-special."
    )


def read_regular(path: Path, what: str, limit_bytes: int, error_type: type[HrnetDeployError] = UsageError) -> bytes:
    """Read a regular file whole; a larger one than `limit_bytes` is refused before memory is taken.

    The other arguments and the errors are those of `open_regular`.
    """
    with open_regular(path, what, error_type) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size) if size <= limit_bytes else b""  # in one piece: no second copy of a large file
        rest = bytearray()
        while size <= limit_bytes >= len(content) + len(rest):
            # A special file has no size, a regular one may grow, and one call reads at most 2 GiB.
            chunk = file.read(_CHUNK_BYTES)
            if not chunk:
                return content + rest if rest else content
            rest += chunk
        raise error_type(f"{what} must have at most {limit_bytes} bytes, got more in {path}. Check the path.")


@contextlib.contextmanager
def translated(path: Path, what: str, error_type: type[HrnetDeployError] = UsageError) -> Iterator[None]:
    """Convert the errors of opening and reading a file to one line; the arguments are those of `open_regular`."""
    try:
        yield
    except HrnetDeployError:
        raise
    except (OSError, ValueError) as error:
        raise _translation(path, what, error_type, error) from error


def _translation(path: Path, what: str, error_type: type[HrnetDeployError], error: Exception) -> HrnetDeployError:
    """Convert an OSError, or the ValueError of a path with a null character or of text that is no path."""
    if isinstance(error, FileNotFoundError):
        return MissingFileError(f"{what} must exist, got no file {path}. Check the path.")
    if isinstance(error, IsADirectoryError):
        return error_type(f"{what} must be a file, got the folder {path}. Name a file.")
    return _unreadable(path, what, error_type, error)


def _unreadable(path: Path, what: str, error_type: type[HrnetDeployError], error: Exception) -> HrnetDeployError:
    """Put the reason why a file cannot be read on one line."""
    reason = getattr(error, "strerror", None) or error
    return error_type(f"{what} must be readable, got '{reason}' for {path}. Check it and its permissions.")


def _open_without_waiting(path: str, flags: int) -> int:
    """Open without waiting for a pipe's writer, unless it is allowed, and without taking a terminal over."""
    wait = os.environ.get(ALLOW_SPECIAL) == "1"
    return os.open(path, flags | getattr(os, "O_NOCTTY", 0) | (0 if wait else getattr(os, "O_NONBLOCK", 0)))
