"""Size and time of a file, from which a restart recognizes its inputs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hrnet_deploy.errors import UsageError


@dataclass(frozen=True)
class FileStamp:
    """Size and modification time of a file; -1 for both where there is no file."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str) -> FileStamp:
        """Look a file up."""
        try:
            status = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes seconds
        except (OSError, ValueError):  # ValueError: a null byte in the name
            return cls(-1, -1)
        return cls(status.st_size, status.st_mtime_ns)

    def check(self, path: str) -> None:
        """Refuse a file of another size: it changed, or this worker sees other files; copies may have other times."""
        found = FileStamp.of(path).size
        if found != self.size:
            sizes = [f"{size} bytes" if size >= 0 else "no file" for size in (self.size, found)]
            raise UsageError(
                f"input must stay as it was listed and be the same for every worker, {sizes[0]}, got {sizes[1]} for "
                f"{path}. Restore it, or use another output folder."
            )
