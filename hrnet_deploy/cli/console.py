"""The only module that prints: no text from a file, a flag, a server or an error can move the cursor or forge a line.

stdout carries data only (a table, JSON); messages, progress and the next command go to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import logging
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from hrnet_deploy.errors import one_line
from hrnet_deploy.system.text_table import printable

_UNUSUAL = re.compile(r"[^\n -~]")
_CLEARED = "\r\x1b[K"
_PROGRESS_COLUMNS = 80
_STDOUT = "standard output"


class OutputClosedError(Exception):
    """The reader of stdout, such as head or less, has exited."""


class LineHandler(logging.Handler):
    """A log handler that writes each record as one escaped line, and if `verbose` its traceback indented below."""

    def __init__(self, template: str, *, verbose: bool) -> None:
        super().__init__()
        self._verbose = verbose
        self.setFormatter(LineFormatter(template))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; one that cannot be formatted is written as its template."""
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - a library's wrong template must not end the run
            text = one_line(record.msg)
        print_lines(text)
        if self._verbose and record.exc_info and record.exc_info[1] is not None:
            print_traceback(record.exc_info[1])


class LineFormatter(logging.Formatter):
    """A formatter whose records are one line, with the error in place of its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        record.message = record.getMessage()
        text = one_line(self.formatMessage(record))
        if record.exc_info and record.exc_info[1] is not None:
            text = one_line(f"{text} ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})")
        return text


def print_result(*lines: str) -> None:
    """Print lines of data on stdout."""
    _write_output("".join(f"{printable(line)}\n" for line in lines))


def print_json(value: Any, *, compact: bool = False) -> None:
    """Print JSON on stdout, on one line if `compact`; what a terminal would interpret is escaped as JSON escapes it."""
    indent = None if compact else 2
    text = _UNUSUAL.sub(_json_escape, json.dumps(value, ensure_ascii=False, indent=indent))
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent)
    _write_output(f"{text}\n")


def print_lines(*lines: str) -> None:
    """Print lines on stderr, whether -q is given or not."""
    _write_error("".join(f"{printable(line)}\n" for line in lines))


def print_message(args: argparse.Namespace, *lines: str) -> None:
    """Print lines of a message on stderr, unless -q is given."""
    if not args.quiet:
        print_lines(*lines)


def print_error(prog: str, text: object) -> None:
    """Print an error on one line on stderr."""
    print_lines(f"{prog}: {one_line(text)}")


def print_traceback(error: BaseException) -> None:
    """Print a traceback on stderr, indented, so that no message in it looks like a line of a command."""
    for part in traceback.format_exception(type(error), error, error.__traceback__):
        print_lines(*(f"  {line}" for line in part.rstrip("\n").split("\n")))


def next_command(args: argparse.Namespace, *words: object) -> None:
    """Suggest the next command, quoted for a shell."""
    print_message(args, "Next: " + shlex.join(str(word) for word in words))


def print_progress(text: str) -> None:
    """Show a text on the terminal's last line, which the next one overwrites; an empty one clears it."""
    shown = printable(text)[:_PROGRESS_COLUMNS]
    _write_error(f"{_CLEARED}{shown}", raw=True)


def flush_output() -> None:
    """Write what is buffered for stdout.

    Raises:
        OutputClosedError: its reader has exited.
        OSError: it cannot be written, with "standard output" as file name.
    """
    if sys.stdout is not None:
        with _translated():
            sys.stdout.flush()


def _write_output(text: str) -> None:
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), _STDOUT)
    with _translated():
        sys.stdout.write(text)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Name stdout in errors, and drop what is left for it."""
    try:
        yield
    except OSError as error:
        _discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise OutputClosedError from error
        raise OSError(error.errno, error.strerror, _STDOUT) from error


def _write_error(text: str, *, raw: bool = False) -> None:
    """Write on stderr; where nobody can read it, the run goes on."""
    if sys.stderr is None:
        return
    write = getattr(sys.stderr, "write_raw", sys.stderr.write) if raw else sys.stderr.write
    try:
        write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        _discard(sys.stderr)


def _discard(stream: Any) -> None:
    """Send what is buffered to nowhere; else Python reports the same error again when it closes the stream."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)


def _json_escape(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]
