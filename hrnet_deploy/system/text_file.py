"""Text files of the user, read up to a limit."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.errors import UsageError
from hrnet_deploy.limits import LINE_CHARACTERS, LIST_LINES
from hrnet_deploy.system.regular_file import read_regular


def read_text(path: Path, what: str, kind: str, limit_bytes: int) -> str:
    """Read UTF-8 text, with or without a byte order mark, of at most `limit_bytes`.

    MissingFileError, or UsageError where it is unreadable, special, larger or no text; `what` ("class file") and `kind`
    ("a short text") are its name and required content in errors.
    """
    content = read_regular(path, what, limit_bytes)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} must be UTF-8 text, got other bytes in {path}. Save it as UTF-8.") from error
    if "\0" in text:
        raise UsageError(f"{what} must be {kind}, got binary in {path}. Check the path.")
    return text


def split_lines(text: str, origin: str) -> list[str]:
    """Split a list into at most `LIST_LINES` lines of at most `LINE_CHARACTERS`; UsageError names it `origin`."""
    if text.count("\n") >= LIST_LINES:
        raise UsageError(f"{origin} must have at most {LIST_LINES} lines, got more. Split it.")
    lines = text.split("\n")
    long = next((number for number, line in enumerate(lines, start=1) if len(line) > LINE_CHARACTERS), None)
    if long is not None:
        raise UsageError(
            f"{origin}, line {long}, must have at most {LINE_CHARACTERS} characters, got {len(lines[long - 1])}."
            " Check the path."
        )
    return lines
