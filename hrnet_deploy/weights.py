"""From what a person calls weights (a path, a zoo name, a URL) to a file on this machine.

Downloads are resumed, checked against the publisher's digest, and appear under their name only when complete.
"""

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

from hrnet_deploy.errors import DownloadError, MissingFileError, UsageError
from hrnet_deploy.zoo import entries, find_entry, list_models, suggestion

_LOG = logging.getLogger(__name__)
_TIMEOUT_S = 30.0
_ATTEMPTS = 4
_PAUSE_S = 0.5
_CHUNK_BYTES = 1 << 18
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_FILE_SUFFIXES = frozenset({".pth", ".pt", ".tar", ".bin", ".ckpt", ".safetensors", ".pdparams", ".onnx"})
_Busy = PermissionError if sys.platform == "win32" else BlockingIOError
_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)


def resolve_weights(source: str | Path, *, cache_dir: Path | None = None) -> Path:
    """The file that holds the weights, downloaded where needed.

    Args:
        source: an existing file, a zoo name such as "hrnet_w18.mm_in1k", or an http(s) URL.
        cache_dir: where downloads are kept; default $HRNET_DEPLOY_CACHE, else $XDG_CACHE_HOME/hrnet_deploy, else
            ~/.cache/hrnet_deploy. Files lie in its folder `weights`.

    Returns:
        Path of a complete file.

    Raises:
        UsageError: neither a file, a zoo name nor an http(s) URL.
        MissingFileError: a path with no file there.
        DownloadError: the file cannot be fetched, must be fetched by hand, or has the wrong digest.
    """
    text = str(source)
    local = Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises for an unknown user
    if _kind(local) == "file":
        return local
    if isinstance(source, str) and _URL.match(text):
        return _from_url(text, weights_folder(cache_dir))
    if list_models(text) and not any(sign in text for sign in "*?["):
        return _from_zoo(text, weights_folder(cache_dir))
    if _kind(local) == "folder":
        raise UsageError(f"weights must be a file, got the folder {local}. Name the file in it.")
    if isinstance(source, Path) or local.suffix.lower() in _FILE_SUFFIXES or any(sep in text for sep in "/\\"):
        raise MissingFileError(
            f"weights file must exist, got {local}. Check the path, or run hrnet-models for zoo names."
        )
    raise UsageError(
        f"weights must be a file, a zoo name such as hrnet_w18.mm_in1k or an http(s) URL, got '{text}'. "
        f"{suggestion(text)}"
    )


def weights_folder(cache_dir: Path | None = None) -> Path:
    """Where downloaded weights lie.

    Args:
        cache_dir: the cache; default as in `resolve_weights`.

    Returns:
        The folder, which may not exist yet.
    """
    return (Path(cache_dir) if cache_dir else _default_cache()) / "weights"


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
    _parts(url)
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


def _kind(path: Path) -> str | None:
    try:
        return "file" if path.is_file() else "folder" if path.is_dir() else None
    except OSError:  # too long for a path, as a signed URL may be
        return None


def _from_zoo(name: str, folder: Path) -> Path:
    entry = find_entry(name)
    path = folder / entry.filename
    if entry.url is not None:
        return download(entry.url, path, digest=entry.digest)
    if path.is_file():
        return path
    raise DownloadError(
        f"{entry.name} must be fetched by hand, got no file {path}. {entry.note} Save it there, or give --weights PATH."
    )


def _from_url(url: str, folder: Path) -> Path:
    last = urllib.parse.unquote(_parts(url).path.rsplit("/", 1)[-1])
    for entry in entries():
        if entry.url == url:
            return download(url, folder / entry.filename, digest=entry.digest)
    # Many publishers call every file model.safetensors, so the address is part of the cached name.
    address = hashlib.sha256(url.encode()).hexdigest()[:8]
    name = re.sub(r"[^\w.-]+", "_", last)[-100:]
    return download(url, folder / f"{address}-{name or 'weights'}")


def _parts(url: str) -> urllib.parse.SplitResult:
    """Take a URL apart; one that urllib would open from the local disk is refused here."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise UsageError(f"weights URL must be valid, got '{url}' ({error}). Correct it.") from error
    if parts.scheme not in {"http", "https"}:
        raise UsageError(f"weights URL must be http or https, got '{url}'. Download it yourself and give the path.")
    return parts


def _default_cache() -> Path:
    if named := os.environ.get("HRNET_DEPLOY_CACHE"):
        return Path(named)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if Path(shared).is_absolute():  # the XDG specification says that a relative one is to be ignored
        return Path(shared) / "hrnet_deploy"
    try:
        return Path.home() / ".cache" / "hrnet_deploy"
    except RuntimeError as error:
        raise UsageError("download cache needs a home folder, got none. Set HRNET_DEPLOY_CACHE to a folder.") from error


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
        response = urllib.request.build_opener(_SafeRedirect).open(request, timeout=_TIMEOUT_S)
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
    from tqdm import tqdm

    silent = True if os.environ.get("TQDM_DISABLE") else None  # None: no bar where stderr is no terminal
    done = start
    with tqdm(
        desc=file.name.rsplit(os.sep, 1)[-1].removesuffix(".partial"),
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=silent,
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
    headers = {"User-Agent": "hrnet-deploy", "Accept-Encoding": "identity"}
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


class _SafeRedirect(urllib.request.HTTPRedirectHandler):
    """Follows http(s) only: never to a local file or another protocol, never from https back to http."""

    def redirect_request(  # noqa: PLR0917 - urllib's signature
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
