"""Errors of the file system while files are written, each as one line with its remedy."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from hrnet_deploy.errors import HrnetDeployError, UsageError, one_line

_PATH_CHARACTERS = 300
_REMEDIES = {
    errno.ENOSPC: "Free some space, or choose another disk.",
    errno.EDQUOT: "Free some space of your quota, or choose another disk.",
    errno.EFBIG: "Raise the limit of file sizes (ulimit -f), or choose another disk.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EROFS: "Choose another folder.",
}


@contextlib.contextmanager
def writing(path: Path, within: Path | None = None) -> Iterator[None]:
    """Convert the errors of writing a file or folder to one line; every writer of this package works inside of it.

    Args:
        path: what is written, under the name that the user knows.
        within: folder of the unfinished files. An error that names a file elsewhere is none of writing, and passes;
            None converts all errors of the file system.

    Raises:
        UsageError: a full disk, a quota, no permission, a name that is too long, and the like.
    """
    try:
        yield
    except (HrnetDeployError, ConnectionError):
        raise
    except OSError as error:
        named = error.filename
        if within is not None and isinstance(named, str) and within.absolute() not in Path(named).absolute().parents:
            raise
        reason = one_line(error.strerror or error, _PATH_CHARACTERS)
        remedy = _REMEDIES.get(error.errno or 0, "Check the folder and its permissions, or choose another.")
        raise UsageError(
            f"output must be writable, got '{reason}' for {one_line(path, _PATH_CHARACTERS)}. {remedy}"
        ) from error
