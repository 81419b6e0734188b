"""Files on disk: atomic writes and content digests."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hrnet_deploy.errors import MissingFileError, UsageError

_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Write a file atomically: yields a path in a new folder beside it, whose content replaces the file at the end.

    A missing folder is created. UsageError: the path is a folder or cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"output must be a file, got the folder {path}. Add a file name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, because a rename across file systems would be a copy, which is not atomic.
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise UsageError(
            f"output folder must be writable, got {path.parent} ({error.strerror}). Choose another."
        ) from error
    try:
        temporary = scratch / path.name
        yield temporary
        # Weights over 2 GB are in a file beside the graph, which moves first.
        for beside in sorted(scratch.iterdir(), key=lambda p: p == temporary):
            beside.replace(path.parent / beside.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """Compute the SHA-256 of a file in hex; MissingFileError where there is none."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFileError(f"file must exist, got {path}. Check the path.") from error
    return digest.hexdigest()
