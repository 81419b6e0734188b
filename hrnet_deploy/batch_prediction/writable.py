"""Errors of disks and folders while results are written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hrnet_deploy.errors import HrnetDeployError, UsageError, one_line


@contextlib.contextmanager
def writable(place: Path) -> Iterator[None]:
    """Turn any error of the file system into one line: a full disk, a folder without permission."""
    try:
        yield
    except HrnetDeployError:
        raise
    except OSError as error:
        raise UsageError(f"output must be writable, got {one_line(error)} for {place}. Check the disk.") from error
