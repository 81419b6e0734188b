"""One file from the web: resumed, checked against its digest, and there only when complete."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from hrnet_deploy.errors import DownloadError, UsageError
from hrnet_deploy.system.progress import bar

_LOG = logging.getLogger(__name__)
_TIMEOUT_S = 30.0
_ATTEMPTS = 4
_PAUSE_S = 0.5
_CHUNK_BYTES = 1 << 18
_HEADERS = {"User-Agent": "hrnet-deploy", "Accept-Encoding": "identity"}
_ABSENT = frozenset({400, 401, 403, 404, 405, 410})
"""What servers answer for a file that is not there; storage services hide which names exist."""
_Busy = PermissionError if sys.platform == "win32" else BlockingIOError
_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)


def download(url: str, path: Path, *, digest: str | None = None) -> Path:
    """Fetch a file unless it is there, resuming what an earlier attempt left.

    Args:
        url: http or https.
        path: where it shall lie; `path.partial` beside it holds what has arrived.
        digest: first hex digits its SHA-256 must have.

    Returns:
        The path.

    Raises:
        UsageError: not an http(s) URL.
        DownloadError: unreachable, refused, cut short, a web page instead of a file, or the wrong digest.
    """
    split_url(url)
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _exclusive(path):
                if not path.is_file():
                    _transfer(url, path, digest)
                    return path
        _check(path, digest)
    except DownloadError:
        raise
    except urllib.error.HTTPError as error:
        raise _failure(url, path, f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _failure(url, path, str(error.reason)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failure(url, path, str(error) or type(error).__name__) from error
    return path


def fetch_small(url: str, limit_bytes: int) -> bytes | None:
    """A small file that may not be there.

    Args:
        url: http or https.
        limit_bytes: most it may hold.

    Returns:
        Its content; None where the server has none (or hides it), shows a page instead, or it is larger.

    Raises:
        UsageError: not an http(s) URL.
        DownloadError: unreachable, or the server failed.
    """
    split_url(url)
    request = urllib.request.Request(url, headers=_HEADERS)  # noqa: S310 - only http(s) gets here and past redirects
    try:
        with urllib.request.build_opener(SafeRedirect).open(request, timeout=_TIMEOUT_S) as response:
            _refuse_pages(response)
            content: bytes = response.read(limit_bytes + 1)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _ABSENT:
            return None
        raise DownloadError(
            f"{url} must be downloadable or absent, got: HTTP {error.code} {error.reason}. Try again."
        ) from error
    except urllib.error.URLError as error:
        raise DownloadError(f"{url} must be downloadable or absent, got: {error.reason}. Try again.") from error
    except ValueError:
        return None
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{url} must be downloadable or absent, got: {error}. Try again.") from error
    return content if len(content) <= limit_bytes else None


def split_url(url: str) -> urllib.parse.SplitResult:
    """Take a URL apart; one that urllib would open from the local disk is refused here.

    Args:
        url: http or https.

    Returns:
        Its parts.

    Raises:
        UsageError: of another scheme, or malformed.
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise UsageError(f"weights URL must be valid, got '{url}' ({error}). Correct it.") from error
    if parts.scheme not in {"http", "https"}:
        raise UsageError(f"weights URL must be http or https, got '{url}'. Download it yourself and give the path.")
    return parts


def _failure(url: str, path: Path, reason: str) -> DownloadError:
    return DownloadError(
        f"{url} must be downloadable, got: {reason}. "
        f"Save it by hand as {path.name} in {path.parent}, or give --weights PATH."
    )


def _transfer(url: str, path: Path, digest: str | None) -> None:
    """Fetch into `.partial`, try again where the connection dropped, verify, and put the file in place."""
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
    """Fetch what is missing of the file.

    Returns:
        SHA-256 of the whole file, in hex.
    """
    offset, headers = _resume_point(partial)
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - only http(s) gets here and past redirects
    try:
        response = urllib.request.build_opener(SafeRedirect).open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            partial.unlink()
            raise ConnectionError("the server does not continue this file") from error
        raise
    with response:
        start = _start(response, offset, partial)
        _refuse_pages(response)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        with partial.open("r+b" if start else "wb") as file:
            digest = _sha256(file) if start else hashlib.sha256()
            _remember_validator(response.headers, partial)
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
    """Where the body that follows begins: at `offset`, or at 0 from a server that sends the whole file."""
    if response.status == http.HTTPStatus.OK:
        return 0
    answered = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if response.status == http.HTTPStatus.PARTIAL_CONTENT and answered and int(answered[1]) == offset:
        return offset
    partial.unlink(missing_ok=True)
    raise ConnectionError(f"the server answered {response.status} with another part of the file than asked for")


def _refuse_pages(response: http.client.HTTPResponse) -> None:
    if response.headers.get_content_type() in {"text/html", "application/xhtml+xml"}:
        raise ValueError("a web page instead of a file")
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise ValueError(f"content encoded as {encoding}")


def _resume_point(partial: Path) -> tuple[int, dict[str, str]]:
    """How much is there, and the headers that ask for the rest provided the file is still the same one."""
    headers = dict(_HEADERS)
    try:
        offset, validator = partial.stat().st_size, _validator_path(partial).read_text(encoding="latin-1")
    except FileNotFoundError:
        return 0, headers
    if not offset or not validator:
        return 0, headers
    return offset, headers | {"Range": f"bytes={offset}-", "If-Range": validator}


def _remember_validator(headers: http.client.HTTPMessage, partial: Path) -> None:
    tag = headers.get("ETag", "")
    # A weak tag promises equal meaning, not equal bytes; RFC 9110 forbids it in If-Range.
    validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
    _validator_path(partial).write_text(validator, encoding="latin-1")


def _validator_path(partial: Path) -> Path:
    return partial.with_name(partial.name + ".etag")


def _check(path: Path, digest: str | None) -> None:
    """Refuse a cached file (perhaps put there by hand) that is not what the publisher released."""
    if digest is None:
        return
    with path.open("rb") as file:
        found = _sha256(file).hexdigest()
    if not found.startswith(digest):
        raise DownloadError(
            f"{path} must have a SHA-256 starting with {digest}, got {found}. Delete it to download it anew."
        )


def _sha256(file: BinaryIO) -> Any:
    """Digest of the rest of the file, ready for more bytes."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest


class SafeRedirect(urllib.request.HTTPRedirectHandler):
    """Follows http(s) only: never to a local file or another protocol, never from https back to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Refuse an unsafe target."""
        target = urllib.parse.urlsplit(newurl).scheme.lower()
        if target not in {"http", "https"} or (req.type == "https" and target == "http"):
            fp.close()
            raise ValueError(f"a redirect to {newurl}, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Let one process (and thread) at a time fetch this file; the others wait, then find it there."""
    lock = path.with_name(path.name + ".lock")
    announced = False
    while (handle := _try_lock(lock)) is None:
        if not announced:
            _LOG.warning("waiting for another process to download %s", path.name)
            announced = True
        time.sleep(0.1)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps the name of an open file
            lock.unlink()
        os.close(handle)


def _try_lock(lock: Path) -> int | None:
    """An open, locked handle; None while another holds it. The system frees it even if its holder is killed."""
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before unlinks the name: a lock on a nameless file keeps nobody out.
        if lock.stat().st_ino == os.fstat(handle).st_ino:
            return handle
    except (_Busy, FileNotFoundError):
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None
