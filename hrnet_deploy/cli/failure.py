"""What ends a command: each kind of error as one line, with its exit code."""

from __future__ import annotations

import errno
import os

from hrnet_deploy.cli.interruption import INTERRUPTION
from hrnet_deploy.errors import HrnetDeployError, one_line

FAILED = 1
"""Exit code of a failure that is neither the user's input nor a fault of this package."""
INTERNAL_ERROR = 70
"""Exit code of a fault of this package. Source: EX_SOFTWARE of sysexits.h."""

_ADVICE = {
    errno.ENOSPC: "Free some space there, or choose another folder.",
    errno.EDQUOT: "Free some space there, or choose another folder.",
    errno.EACCES: "Check its permissions, or choose another folder.",
    errno.EPERM: "Check its permissions, or choose another folder.",
    errno.EROFS: "Choose a folder that can be written.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EMFILE: "Raise the limit of open files: ulimit -n.",
    errno.EFBIG: "Raise the limit of file sizes: ulimit -f.",
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "Check the path.",
    errno.EISDIR: "Name a file.",
    errno.ELOOP: "Check its symbolic links.",
    errno.ENOMEM: "Close other programs, or use smaller inputs.",
    errno.EBADF: "Open it, or redirect it to a file.",
    errno.EIO: "Check the disk.",
}
_SIGNAL = 128
_SIGINT = 2


def exit_code(error: BaseException) -> int:
    """Return the exit code of a command that an error ends.

    Args:
        error: any exception, also KeyboardInterrupt.

    Returns:
        The code of the package's own errors; 128 plus the number of a signal; 70 for a fault of the package; else 1.
    """
    if is_interruption(error):
        return _SIGNAL + (INTERRUPTION.received or _SIGINT)
    if isinstance(error, HrnetDeployError):
        return error.exit_code
    return FAILED if _reason(error) is not None else INTERNAL_ERROR


def is_interruption(error: BaseException) -> bool:
    """Return whether a signal ended the command; libraries convert KeyboardInterrupt into errors of their own.

    Args:
        error: any exception.

    Returns:
        Whether the user or the system wanted the end.
    """
    return isinstance(error, KeyboardInterrupt) or INTERRUPTION.received is not None


def describe(error: BaseException) -> str:
    """Describe an error for the user.

    Args:
        error: any exception but an interruption.

    Returns:
        One line: requirement, actual value, remedy.
    """
    if isinstance(error, HrnetDeployError):
        return one_line(error)
    return _reason(error) or (
        f"internal error ({type(error).__name__}: {one_line(error, 500)}), which is a fault of hrnet_deploy. "
        "Run again with -v for the traceback and report it."
    )


def _reason(error: BaseException) -> str | None:
    """Describe an error of the machine or of the input; None for a fault of the package."""
    if isinstance(error, OSError):
        reason = error.strerror or one_line(error, 500) or type(error).__name__
        advice = _ADVICE.get(error.errno or 0, "Check it.")
        if error.filename is None:
            return f"files and connections must be usable, got '{reason}'. {advice}"
        return f"{_name(error.filename)} must be usable, got '{reason}'. {advice}"
    if isinstance(error, MemoryError):
        found = one_line(error, 500) or "too little"
        return f"memory must suffice, got: {found}. Use smaller images, a smaller batch or another machine."
    if isinstance(error, RecursionError):
        return "input must not be nested so deeply, got more levels than Python handles. Simplify it."
    if isinstance(error, UnicodeError):
        return f"text must be Unicode, got: {one_line(error, 500)}. Save it as UTF-8, or rename the file."
    return None


def _name(filename: object) -> str:
    return os.fsdecode(filename) if isinstance(filename, (str, bytes, os.PathLike)) else f"descriptor {filename}"
