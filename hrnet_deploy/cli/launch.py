"""The run of one command: its streams, its errors as one line, and its exit code."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hrnet_deploy.cli.console import (
    LineHandler,
    OutputClosedError,
    flush_output,
    print_error,
    print_lines,
    print_traceback,
)
from hrnet_deploy.cli.failure import FAILED, describe, exit_code, is_interruption
from hrnet_deploy.cli.interruption import INTERRUPTION
from hrnet_deploy.system import native_stderr
from hrnet_deploy.system.regular_file import ALLOW_SPECIAL

_Parse = Callable[[Sequence[str] | None], argparse.Namespace]
_LOG = logging.getLogger(__name__)


def launch(prog: str, parse: _Parse, run: Callable[[argparse.Namespace], int]) -> int:
    """Run one command and convert its errors to one line and an exit code.

    Args:
        prog: name of the command, such as hrnet-predict.
        parse: reads the command line, that of the process for None.
        run: the command.

    Returns:
        0 for success, 1 failure, 2 wrong usage or bad input, 3 a missed accuracy gate, 70 a fault of this package, 128
        plus the number of a signal.
    """
    shown = False

    def action() -> int:
        nonlocal shown
        args = parse(None)
        shown = args.verbose
        _set_noise(prog, verbose=args.verbose, quiet=args.quiet)
        for name, variable in (("allow_special", ALLOW_SPECIAL), ("strict", native_stderr.STRICT)):
            if getattr(args, name, False):
                os.environ[variable] = "1"
        with INTERRUPTION.running():
            return run(args)

    return launch_action(prog, action, traceback_shown=lambda: shown)


def launch_action(prog: str, action: Callable[[], int], traceback_shown: Callable[[], bool] = lambda: False) -> int:
    """Run an action as `launch` runs a command.

    Args:
        prog: name of the command.
        action: returns the exit code.
        traceback_shown: whether errors come with a traceback; evaluated after the action.

    Returns:
        As `launch`.
    """
    with _prepared(prog):
        try:
            return _finished(action)
        except SystemExit:  # of the parser, which has printed
            raise
        except OutputClosedError:
            return FAILED
        except BaseException as error:  # noqa: BLE001 - the only place that translates errors
            with contextlib.suppress(OutputClosedError, OSError):
                flush_output()
            if is_interruption(error):
                print_lines(INTERRUPTION.line())
            else:
                if traceback_shown():
                    print_traceback(error)
                print_error(prog, describe(error))
            return exit_code(error)


def _finished(action: Callable[[], int]) -> int:
    """Run an action to the end of its output."""
    try:
        code = action()
    except SystemExit:
        flush_output()
        raise
    finally:
        native_stderr.drain()
    if INTERRUPTION.received is not None:  # a library has swallowed it
        raise KeyboardInterrupt
    flush_output()
    return code


@contextlib.contextmanager
def _prepared(prog: str) -> Iterator[None]:
    """Lead signals, native lines, warnings and threads' errors here; give them back where the process goes on."""
    with contextlib.ExitStack() as stack:
        replaced = INTERRUPTION.install(prog)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # what the terminal cannot encode must not end the run
                stream.reconfigure(errors="backslashreplace")
        is_first = native_stderr.capture()
        if isinstance(sys.stderr, native_stderr.EscapingStream):
            INTERRUPTION.descriptor = sys.stderr.fileno()
        shown, hook = warnings.showwarning, threading.excepthook
        warnings.showwarning, threading.excepthook = _log_warning, _log_thread_error
        if not INTERRUPTION.owns_process:
            stack.callback(_restore, shown, hook)
            stack.callback(INTERRUPTION.restore, replaced)
            if is_first:
                stack.callback(native_stderr.release)
        yield


def _restore(shown: Any, hook: Any) -> None:
    warnings.showwarning, threading.excepthook = shown, hook
    INTERRUPTION.descriptor = 2


def _log_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Log what Python's warnings report."""
    del file, line
    _LOG.warning("%s: %s (%s:%d)", category.__name__, message, filename, lineno)


def _log_thread_error(args: threading.ExceptHookArgs) -> None:
    """Log an error that ended a thread; the thread's work is missing, so the command fails by itself."""
    if not issubclass(args.exc_type, SystemExit | KeyboardInterrupt) and INTERRUPTION.received is None:
        _LOG.error("internal error in a thread (%s: %s)", args.exc_type.__name__, args.exc_value)


def _set_noise(prog: str, *, verbose: bool, quiet: bool) -> None:
    """Set the output on stderr beside errors: everything, warnings and progress, or nothing."""
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"
        warnings.simplefilter("ignore")
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING
    origin = "%(levelname)s %(name)s" if verbose else prog
    logging.basicConfig(level=level, handlers=[LineHandler(f"{origin}: %(message)s", verbose=verbose)])
    if not verbose:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Errors in the data of a TIFF are in OpenCV's log only.
    if os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR") == "ERROR" and "cv2" in sys.modules:
        logs = getattr(sys.modules["cv2"].utils, "logging", None)  # OpenCV 4.9 has none
        if logs is not None:
            logs.setLogLevel(logs.LOG_LEVEL_ERROR)
