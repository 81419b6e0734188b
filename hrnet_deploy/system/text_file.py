"""Text files of the user, read up to a limit."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.errors import MissingFileError, UsageError


def read_text(path: Path, what: str, kind: str, limit_bytes: int) -> str:
    """Read UTF-8 text, with or without a byte order mark, of at most `limit_bytes`.

    MissingFileError, or UsageError where it is unreadable, larger or no text; `what` ("class file") and `kind` ("a
    short text") are its name and required content in errors.
    """
    try:
        with path.open("rb") as file:
            # One byte above the limit detects a checkpoint given by mistake, without reading all of it.
            content = file.read(limit_bytes + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise MissingFileError(f"{what} must exist, got {path}. Check the path.") from error
    except OSError as error:
        raise UsageError(f"{what} must be readable, got {error.strerror} for {path}. Check it.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} must be UTF-8 text, got other bytes in {path}. Save it as UTF-8.") from error
    if len(content) > limit_bytes or "\0" in text:
        raise UsageError(f"{what} must be {kind}, got binary or too many bytes in {path}. Check the path.")
    return text
