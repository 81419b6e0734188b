"""Download of one file: resumed, checked against its digest, and visible only when complete."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import time
import urllib.error
from pathlib import Path
from typing import IO, Any

from hrnet_deploy.errors import DownloadError
from hrnet_deploy.limits import CHECKPOINT_BYTES
from hrnet_deploy.system.file_lock import exclusive
from hrnet_deploy.system.http_body import HttpBody
from hrnet_deploy.system.http_client import failure_reason, open_url, refuse_pages, shown_url, split_url
from hrnet_deploy.system.partial_file import PartialFile
from hrnet_deploy.system.progress import bar

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 4
_PAUSE_S = 0.5
_CHUNK_BYTES = 1 << 18
_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:[0-9]{1,18}|\*)")


class _OtherFileError(ConnectionError):
    """The server does not continue the file that is there in part."""


def download(url: str, path: Path, *, digest: str | None = None, limit_bytes: int = CHECKPOINT_BYTES) -> Path:
    """Fetch a file from an http(s) URL unless it exists, and return its path; an earlier attempt is resumed.

    The file gets its name only when it is complete and has the digest; without a digest, a warning names its SHA-256.

    Args:
        url: http or https.
        path: where the file belongs.
        digest: first hex digits of its SHA-256; None where none is known.
        limit_bytes: largest size.

    Returns:
        `path`.

    Raises:
        UsageError: not an http(s) URL.
        DownloadError: unreachable, refused, slow, cut short, too large, a web page instead of a file, no room on the
            disk, or the wrong digest.
    """
    split_url(url)
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(path, "download"):
                if not path.is_file():
                    _transfer(url, path, digest, limit_bytes)
                    return path
        check_digest(path, digest)
    except DownloadError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(
            f"{shown_url(url)} must be downloadable, got: {failure_reason(error)}. "
            f"Save it by hand as {path.name} in {path.parent}, or export a file with --weights."
        ) from error
    return path


def check_digest(path: Path, digest: str | None) -> None:
    """Compare an existing file with its published digest.

    Args:
        path: the file.
        digest: first hex digits of its SHA-256; None where none is known.

    Raises:
        DownloadError: it has another one.
        OSError: it cannot be read.
    """
    if digest is None:
        return
    with path.open("rb") as file:
        found = _sha256(file).hexdigest()
    if not found.startswith(digest):
        raise DownloadError(
            f"{path} must have a SHA-256 starting with {digest}, got {found}. Delete it to download it anew."
        )


def _transfer(url: str, path: Path, digest: str | None, limit_bytes: int) -> None:
    """Fetch into `.partial`, retry after a dropped connection, verify, and move the file into place."""
    if path.is_dir():
        raise IsADirectoryError(f"a folder at {path}")
    partial = PartialFile(path)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            found = _stream(url, partial, limit_bytes, is_verified=digest is not None)
            break
        except (ConnectionError, TimeoutError, http.client.IncompleteRead) as error:
            if isinstance(error, _OtherFileError):
                partial.remove()
            if attempt == _ATTEMPTS:
                raise
            _LOG.warning(
                "%s: %s; trying again (%d of %d)", shown_url(url), failure_reason(error), attempt + 1, _ATTEMPTS
            )
            time.sleep(_PAUSE_S * attempt)
    if digest is not None and not found.startswith(digest):
        partial.remove()
        raise DownloadError(
            f"{shown_url(url)} must have a SHA-256 starting with {digest}, got {found}. It was removed; try again."
        )
    partial.finish()
    if digest is None:
        _LOG.warning("%s is not verified, because no digest is published for it; its SHA-256 is %s", path.name, found)


def _stream(url: str, partial: PartialFile, limit_bytes: int, *, is_verified: bool) -> str:
    """Fetch the missing part of the file; return the SHA-256 of the whole file, in hex."""
    offset, validator = partial.resume_point()
    headers = {"Range": f"bytes={offset}-", "If-Range": validator} if offset else {}
    try:
        body = open_url(url, headers)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            raise _OtherFileError("the server does not continue this file") from error
        raise
    with body:
        start = _start(body, offset, validator)
        refuse_pages(body)
        if not body.is_framed and not is_verified:
            raise ValueError("a file of unknown length and digest, whose loss would not be noticed")
        total = None if body.length is None else start + body.length
        if (total or 0) > limit_bytes:
            raise ValueError(f"a file of {total} bytes, above the limit of {limit_bytes}")
        try:
            with partial.open(start) as file:
                digest = _sha256(file, start)
                partial.store_validator(body.headers)
                _copy(body, file, digest, start, total, limit_bytes)
                os.fsync(file.fileno())
        except ValueError:  # not the file: nothing to continue
            partial.remove()
            raise
    return str(digest.hexdigest())


def _copy(body: HttpBody, file: IO[bytes], digest: Any, start: int, total: int | None, limit_bytes: int) -> None:
    """Write the body as it arrives, so that an interruption loses nothing."""
    done = start
    name = Path(file.name).name.removesuffix(".partial")
    with bar(desc=name, total=total, initial=start, unit="B", unit_scale=True, unit_divisor=1024) as progress:
        while total is None or done < total:
            chunk = body.read(_CHUNK_BYTES if total is None else min(_CHUNK_BYTES, total - done))
            if not chunk:
                break
            if not done and _PAGE.match(chunk):
                raise ValueError("a web page instead of a file")
            if done + len(chunk) > limit_bytes:
                raise ValueError(f"a file above the limit of {limit_bytes} bytes")
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress.update(len(chunk))
    if done == 0:
        raise ValueError("an empty file")
    if total is not None and done < total:
        raise ConnectionError(f"the connection closed after {done} of {total} bytes")


def _start(body: HttpBody, offset: int, validator: str) -> int:
    """Return the start of the body in the file: `offset`, or 0 where the server sends the whole file."""
    if body.status == http.HTTPStatus.OK:
        return 0
    sent = _RANGE.fullmatch(body.headers.get("Content-Range", ""))
    fits = sent and int(sent[1]) == offset and body.length in {None, int(sent[2]) - offset + 1}
    tag = body.headers.get("ETag")
    is_same = tag is None or not validator.startswith('"') or tag == validator
    if body.status == http.HTTPStatus.PARTIAL_CONTENT and offset and fits and is_same:
        return offset
    raise _OtherFileError(f"the server answered {body.status} with another part of the file than requested")


def _sha256(file: IO[bytes], size: int | None = None) -> Any:
    """Digest the next `size` bytes of a file, or all of it; the digest accepts more bytes."""
    digest = hashlib.sha256()
    left = size
    while chunk := file.read(_CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left)):
        digest.update(chunk)
        left = None if left is None else left - len(chunk)
    return digest
