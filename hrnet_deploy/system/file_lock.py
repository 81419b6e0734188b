"""A lock that one process and thread at a time holds, beside the file that it protects."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_LOG = logging.getLogger(__name__)
_POLL_S = 0.1
_Busy = PermissionError if sys.platform == "win32" else BlockingIOError


@contextlib.contextmanager
def exclusive(path: Path, activity: str) -> Iterator[None]:
    """Hold the lock `path.lock`; a process that waits logs the activity, such as "download", once."""
    lock = path.with_name(path.name + ".lock")
    announced = False
    while (handle := try_lock(lock)) is None:
        if not announced:
            _LOG.warning("waiting for another process to %s %s", activity, path.name)
            announced = True
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps the name of an open file
            lock.unlink()
        os.close(handle)


def try_lock(lock: Path) -> int | None:
    """Create and lock a file, and return its handle; None while another process or thread holds the lock.

    The system frees the lock even if its holder is killed. OSError: no such folder, no permission, or no locks there.
    """
    # A link would create or lock a file elsewhere.
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The former holder unlinks the name: a lock on a file without a name excludes nobody.
        if lock.stat().st_ino == os.fstat(handle).st_ino:
            return handle
    except (_Busy, FileNotFoundError):
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None
