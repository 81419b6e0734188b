"""Files on disk: atomic writes and content digests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from hrnet_deploy.errors import MissingFileError, UsageError, one_line
from hrnet_deploy.system.scratch_folder import scratch_folder
from hrnet_deploy.system.write_errors import writing

_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def atomic_output(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Write a file, and those that belong to it, as one: they get their names when all are complete.

    Files that the body writes beside the yielded path come along. Then the file of that path is the marker: the former
    one is removed first, and the new one moves last, so that it never stands beside files of another run.

    Args:
        path: the file. A missing folder is created; a symbolic link is replaced, not followed.
        durable: wait until the disk has the content, so that a power cut leaves no empty file under the name.

    Yields:
        The path of the unfinished file, in a new hidden folder beside its place.

    Raises:
        UsageError: the path is a folder or a device, or the disk cannot take the content.
    """
    check_output(path)
    with unfinished(path) as new:
        yield new / path.name
        with writing(path):
            _move(new, path, durable=durable)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Write a folder of files as one: yields a new folder, which takes the place of `path` at the end.

    UsageError: as of `atomic_output`.
    """
    with unfinished(path) as scratch:
        new = scratch / path.name
        new.mkdir()
        yield new
        with writing(path):
            sync_files(new)
            if path.exists():  # damaged, or of another process that computed the same
                path.replace(scratch / "former")
            new.replace(path)
            _sync_folder(path.parent)


def _check_folder(path: Path) -> None:
    """Raise PermissionError if no file can be created at a path, or at the folder that would be created first."""
    folder = next(each for each in path.absolute().parents if each.is_dir())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """Create a hidden folder for the unfinished files of an output, beside it, and delete it at the end.

    UsageError: as of `atomic_output`, also for what the body writes there.
    """
    with contextlib.ExitStack() as stack:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(scratch_folder(path.parent))
        stack.enter_context(writing(path, within=folder))
        yield folder


def check_output(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Refuse a path that no file can be written to, before anything is computed.

    Args:
        path: of the output.
        inputs: files that it must not replace.

    Raises:
        UsageError: a folder, a device, a pipe or a socket; a path that no file can have; or one of the inputs.
    """
    with writing(path):
        try:
            found = path.stat()
        except FileNotFoundError:
            _check_folder(path)
            return
        except ValueError as error:
            raise UsageError(f"output must be a path, got {one_line(path, 100)!r}. Choose another name.") from error
        _check_folder(path)
        # Not Path.exists, which raises where a text is too long for a name.
        same = next((each for each in inputs if os.path.exists(each) and each.samefile(path)), None)  # noqa: PTH110
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"output must be a file, got the folder {path}. Add a file name.")
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"output must be a regular file, got a device, pipe or socket at {path}. Choose another name.")
    if same is not None:
        raise UsageError(f"output must be another file than the inputs, got {path}. Choose another name.")


def sync_files(folder: Path) -> None:
    """Wait until the disk has all files below a folder: their names, once they have them, survive a power cut whole."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("r+b") as stream:  # Windows syncs only files that are open for writing
                os.fsync(stream.fileno())


def sha256_file(path: Path) -> str:
    """Compute the SHA-256 of a file in hex; MissingFileError where there is none."""
    digest, chunk = hashlib.sha256(), memoryview(bytearray(_CHUNK_BYTES))
    try:
        with path.open("rb", buffering=0) as stream:
            # One buffer for all reads, because new memory takes time.
            while count := stream.readinto(chunk):
                digest.update(chunk[:count])
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFileError(f"file must exist, got {path}. Check the path.") from error
    return digest.hexdigest()


def _move(new: Path, path: Path, *, durable: bool) -> None:
    """Move finished files to their places, that of `path` last."""
    parts = sorted(new.iterdir(), key=lambda part: part.name == path.name)
    for part in parts:
        check_output(path.with_name(part.name))
    if durable:
        sync_files(new)
    if len(parts) > 1 and parts[-1].name == path.name:
        path.unlink(missing_ok=True)
    for part in parts:
        part.replace(path.with_name(part.name))
    if durable and parts:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
