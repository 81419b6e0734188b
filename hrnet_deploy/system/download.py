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
from typing import Any, BinaryIO

from hrnet_deploy.errors import DownloadError
from hrnet_deploy.system.file_lock import exclusive
from hrnet_deploy.system.http_client import failure_reason, open_url, refuse_pages, split_url
from hrnet_deploy.system.progress import bar

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 4
_PAUSE_S = 0.5
_CHUNK_BYTES = 1 << 18
_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)


def download(url: str, path: Path, *, digest: str | None = None) -> Path:
    """Fetch a file from an http(s) URL unless it exists, and return its path; an earlier attempt is resumed.

    `digest` has the first hex digits of its SHA-256. UsageError: not an http(s) URL. DownloadError: unreachable,
    refused, cut short, a web page instead of a file, or the wrong digest.
    """
    split_url(url)
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(path, "download"):
                if not path.is_file():
                    _transfer(url, path, digest)
                    return path
        _check(path, digest)
    except DownloadError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(
            f"{url} must be downloadable, got: {failure_reason(error)}. "
            f"Save it by hand as {path.name} in {path.parent}, or give --weights PATH."
        ) from error
    return path


def _transfer(url: str, path: Path, digest: str | None) -> None:
    """Fetch into `.partial`, retry after a dropped connection, verify, and move the file into place."""
    partial = path.with_name(path.name + ".partial")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            found = _stream(url, partial)
            break
        except (ConnectionError, TimeoutError, http.client.IncompleteRead) as error:
            if attempt == _ATTEMPTS:
                raise
            _LOG.warning("%s: %s; trying again (%d of %d)", url, error, attempt + 1, _ATTEMPTS)
            time.sleep(_PAUSE_S * attempt)
    _validator_path(partial).unlink(missing_ok=True)
    if digest is not None and not found.startswith(digest):
        partial.unlink()
        raise DownloadError(
            f"{url} must have a SHA-256 starting with {digest}, got {found}. The file was removed; try again."
        )
    partial.replace(path)


def _stream(url: str, partial: Path) -> str:
    """Fetch the missing part of the file; return the SHA-256 of the whole file, in hex."""
    offset, headers = _resume_point(partial)
    try:
        response = open_url(url, headers)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            partial.unlink()
            raise ConnectionError("the server does not continue this file") from error
        raise
    with response:
        start = _start(response, offset, partial)
        refuse_pages(response)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        with partial.open("r+b" if start else "wb") as file:
            digest = _sha256(file) if start else hashlib.sha256()
            tag = response.headers.get("ETag", "")
            # A weak tag guarantees equal meaning, not equal bytes; RFC 9110 forbids it in If-Range.
            validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
            _validator_path(partial).write_text(validator, encoding="latin-1")
            _copy(response, file, digest, start, total)
            os.fsync(file.fileno())
    return digest.hexdigest()


def _copy(response: http.client.HTTPResponse, file: BinaryIO, digest: Any, start: int, total: int | None) -> None:
    """Write the body as it arrives, so that an interruption loses nothing."""
    done = start
    with bar(
        desc=file.name.rsplit(os.sep, 1)[-1].removesuffix(".partial"),
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
    ) as progress:
        while total is None or done < total:
            chunk = response.read1(_CHUNK_BYTES if total is None else min(_CHUNK_BYTES, total - done))
            if not chunk:
                break
            if not done and _PAGE.match(chunk):
                raise ValueError("a web page instead of a file")
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress.update(len(chunk))
    if done == 0:
        raise ValueError("an empty file")
    if total is not None and done < total:
        raise ConnectionError(f"the connection closed after {done} of {total} bytes")


def _start(response: http.client.HTTPResponse, offset: int, partial: Path) -> int:
    """Return the start of the body in the file: `offset`, or 0 where the server sends the whole file."""
    if response.status == http.HTTPStatus.OK:
        return 0
    sent = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if response.status == http.HTTPStatus.PARTIAL_CONTENT and sent and int(sent[1]) == offset:
        return offset
    partial.unlink(missing_ok=True)
    raise ConnectionError(f"the server answered {response.status} with another part of the file than requested")


def _resume_point(partial: Path) -> tuple[int, dict[str, str]]:
    """Return the size that is there, and headers that request the rest if the file has not changed."""
    try:
        offset, validator = partial.stat().st_size, _validator_path(partial).read_text(encoding="latin-1")
    except FileNotFoundError:
        return 0, {}
    if not offset or not validator:
        return 0, {}
    return offset, {"Range": f"bytes={offset}-", "If-Range": validator}


def _validator_path(partial: Path) -> Path:
    return partial.with_name(partial.name + ".etag")


def _check(path: Path, digest: str | None) -> None:
    """Refuse an existing file with another digest than the published one."""
    if digest is None:
        return
    with path.open("rb") as file:
        found = _sha256(file).hexdigest()
    if not found.startswith(digest):
        raise DownloadError(
            f"{path} must have a SHA-256 starting with {digest}, got {found}. Delete it to download it anew."
        )


def _sha256(file: BinaryIO) -> Any:
    """Digest the rest of the file; the digest accepts more bytes."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest
