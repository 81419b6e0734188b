"""Ctrl-C and SIGTERM at any moment: one line on stderr, and 128 plus the signal's number as exit code.

Before a command runs nothing needs clean-up, and the process ends at once. While it runs the signal raises
KeyboardInterrupt, so that unfinished files are removed. This module imports nothing else of the package: the handlers
must be in place before anything is imported that takes time.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

_GRACE_S = 2.0
_RETRY_S = 0.02
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class _Interruption:
    """State of the handlers.

    Attributes:
        prog: name of the command in the line.
        received: first signal of a run; None before.
        descriptor: where the line is written.
        owns_process: whether the process ends with the command, so that nothing needs to be restored.
    """

    def __init__(self) -> None:
        self.prog = "hrnet_deploy"
        self.received: int | None = None
        self.descriptor = 2
        self.owns_process = False
        self._is_installed = False
        self._is_running = False
        self._finishing_since: float | None = None

    def install(self, prog: str) -> dict[int, Any]:
        """Install the handlers, unless they are; return the handlers that they replace, of which none is ignored."""
        self.prog = prog
        if self._is_installed:
            return {}
        try:
            replaced: dict[int, Any] = {number: signal.getsignal(number) for number in _WORDS}
            for number, before in replaced.items():
                if before is not signal.SIG_IGN:  # nohup, or a background job of a shell
                    signal.signal(number, self._handle)
        except ValueError:  # another thread than the main one
            return {}
        self._is_installed, self.received, self._finishing_since = True, None, None
        return replaced

    def restore(self, replaced: dict[int, Any]) -> None:
        """Install earlier handlers."""
        for number, handler in replaced.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._is_installed = False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Raise KeyboardInterrupt at a signal; afterwards the command only finishes, and is left to do so."""
        hook = sys.unraisablehook
        sys.unraisablehook = self._retry_lost
        try:
            self._is_running = True
            yield
        finally:
            self._finishing_since = time.monotonic()
            self._is_running = False
            sys.unraisablehook = hook

    def line(self) -> str:
        """Return the line of the received signal."""
        return f"{self.prog}: {_WORDS[signal.Signals(self.received or signal.SIGINT)]}"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._finishing_since is not None:
            if time.monotonic() - self._finishing_since > _GRACE_S:
                self._end(number)
            return
        if not self._is_running:
            self._end(number)
        if self.received is None:
            self.received = number
        if _is_importing(frame):  # half of a native module cannot be imported again, and may even abort
            self._retry()
            return
        self._finishing_since = time.monotonic()
        raise KeyboardInterrupt

    def _retry(self) -> None:
        """Handle the signal again in a moment."""
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, lambda _, frame: self._handle(self.received or signal.SIGINT, frame))
            signal.setitimer(signal.ITIMER_REAL, _RETRY_S)

    def _retry_lost(self, unraisable: Any) -> None:
        """Keep an exception that Python could not raise from the terminal; an interruption is raised again."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._finishing_since = None
            self._retry()
            return
        import logging

        logging.getLogger(__name__).debug("an error could not be raised: %s", unraisable.exc_value)

    def _end(self, number: int) -> None:
        """End the process at once."""
        self.received = number
        with contextlib.suppress(OSError):
            os.write(self.descriptor, f"{self.line()}\n".encode(errors="replace"))
        os._exit(128 + number)


INTERRUPTION = _Interruption()
"""The handlers of this process."""


def own_process(prog: str) -> None:
    """Install the handlers for the rest of the process; the entry points call this first."""
    INTERRUPTION.install(prog)
    INTERRUPTION.owns_process = True
    # Python removes handlers at its very end, where a signal would end a finished command with another exit code.
    atexit.register(_ignore)
    # A file of the user must not become one of the first three descriptors, which libraries write to.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - its only argument
    os.close(descriptor)


def _ignore() -> None:
    for number in _WORDS:
        signal.signal(number, signal.SIG_IGN)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
