"""Hidden folders of unfinished files, which the next writer removes if their owner was killed.

A living owner holds a lock on a file in its folder. The system frees that lock even after `kill -9`, so a folder whose
lock is free has no owner. Folders of other hosts stay for a day, because some network disks have no common locks.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import platform
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hrnet_deploy.system.file_lock import try_lock

PREFIX = ".hrnet_deploy-"
"""Beginning of the names of all such folders."""

_LOCK = "lock"
_CONTENT = "new"
_FOREIGN_AGE_S = 24 * 3600.0
_WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Create a hidden folder, and remove it at the end; a process's first one also removes what others left behind.

    Args:
        parent: an existing folder. The new one is in it, because a rename across file systems is not atomic.

    Yields:
        The new folder, empty, with the usual permissions, in a private one.

    Raises:
        OSError: the folder cannot be created.
    """
    _sweep_once(parent.absolute())
    private, handle = _claim(parent)
    try:
        content = private / _CONTENT
        content.mkdir()
        yield content
    finally:
        _remove(private, handle)


def sweep(parent: Path, foreign_age_s: float = _FOREIGN_AGE_S) -> None:
    """Remove what killed processes left in a folder; nothing that is in use, and no errors.

    Args:
        parent: the folder.
        foreign_age_s: seconds since the last change of what another host left.
    """
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for name in [entry.name for entry in entries if entry.name.startswith(PREFIX)]:
            with contextlib.suppress(OSError):
                _sweep_folder(parent / name, foreign_age_s)


@functools.lru_cache(maxsize=1024)
def _sweep_once(parent: Path) -> None:
    """Sweep a folder at the first write of this process: a folder of many images takes long to list."""
    sweep(parent)


def _sweep_folder(folder: Path, foreign_age_s: float) -> None:
    """Remove a folder if nobody owns it."""
    found = folder.lstat()
    # Another user may prepare such a name in a common folder like /tmp.
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "geteuid") and found.st_uid != os.geteuid()):
        return
    if not folder.name.startswith(_own_prefix()) and time.time() - _last_change(folder) < foreign_age_s:
        return
    handle = try_lock(folder / _LOCK)
    if handle is not None:
        _remove(folder, handle)


def _claim(parent: Path) -> tuple[Path, int | None]:
    """Create a folder and hold its lock; the handle is None where the file system has no locks."""
    while True:
        private = Path(tempfile.mkdtemp(prefix=_own_prefix(), dir=parent))
        try:
            handle = try_lock(private / _LOCK)
        except FileNotFoundError:  # another process swept it before it was locked
            continue
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS:
                return private, None
            shutil.rmtree(private, ignore_errors=True)
            raise
        if handle is not None:
            return private, handle


def _remove(folder: Path, handle: int | None) -> None:
    """Delete the content, free the lock, and delete the rest: NFS and Windows keep the names of open files."""
    shutil.rmtree(folder / _CONTENT, ignore_errors=True)
    if handle is not None:
        os.close(handle)
    shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def _own_prefix() -> str:
    """Return the beginning of the names that this host gives."""
    return f"{PREFIX}{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}-"


def _last_change(folder: Path) -> float:
    """Return the time of the latest change in a folder."""
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
