"""An open checkpoint, read by position; loads without torch.

Nothing is mapped into memory: a mapped file that is cut by another process ends this one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.limits import CHECKPOINT_BYTES
from hrnet_deploy.system.regular_file import open_regular

_CHUNK_BYTES = 1 << 20


class CheckpointFile:
    """An open regular file of known size.

    Attributes:
        stream: the unbuffered file, for pickles and directories.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        status = os.fstat(stream.fileno())
        self.path, self.stream, self.size = path, stream, status.st_size
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(
                f"checkpoint must be a regular file, which is read in several places, got '{path}'. "
                "Copy its content to a file."
            )
        if self.size > CHECKPOINT_BYTES:
            raise CheckpointError(
                f"checkpoint '{path}' must have at most {CHECKPOINT_BYTES} bytes, got {self.size}. "
                "Save the model alone."
            )

    def read(self, start: int, count: int) -> bytes:
        """Read bytes from a position on; raise EOFError where the file has fewer, before memory is taken."""
        self._check_range(start, count)
        content = bytearray(count)
        self.read_into(start, memoryview(content))
        return bytes(content)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill a buffer of bytes from a position on; raise EOFError where the file has fewer."""
        self._check_range(start, len(buffer))
        self.stream.seek(start)
        filled = 0
        while filled < len(buffer):
            count = self.stream.readinto(buffer[filled:])  # type: ignore[attr-defined]
            if not count:
                raise EOFError(f"it was cut to {start + filled} bytes while it was read")
            filled += count

    def chunks(self, start: int = 0, count: int | None = None) -> Iterator[memoryview]:
        """Read bytes from a position on, all by default, in pieces; each piece is valid until the next one."""
        left = self.size - start if count is None else count
        buffer = memoryview(bytearray(min(left, _CHUNK_BYTES)))
        while left:
            piece = buffer[: min(left, _CHUNK_BYTES)]
            self.read_into(start, piece)
            yield piece
            start, left = start + len(piece), left - len(piece)

    def sha256(self) -> str:
        """Compute the SHA-256 of the file in hex."""
        digest = hashlib.sha256()
        for piece in self.chunks():
            digest.update(piece)
        return digest.hexdigest()

    def _check_range(self, start: int, count: int) -> None:
        if not 0 <= start <= start + count <= self.size:
            raise EOFError(f"it has {self.size} bytes and must have {start + count}")


@contextlib.contextmanager
def open_checkpoint(path: Path) -> Iterator[CheckpointFile]:
    """Open a checkpoint; raises as `open_regular`, and CheckpointError for a pipe or an oversized file."""
    with open_regular(path, "checkpoint", CheckpointError) as stream:
        yield CheckpointFile(path, stream)
