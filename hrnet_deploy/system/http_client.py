"""HTTP requests that follow safe redirects only and accept files, not web pages."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import IO, Any

from hrnet_deploy.errors import DownloadError, UsageError

TIMEOUT_S = 30.0
"""Limit of the connection and of each wait."""
_HEADERS = {"User-Agent": "hrnet-deploy", "Accept-Encoding": "identity"}
_ABSENT = frozenset({400, 401, 403, 404, 405, 410})
"""Status codes of servers for a missing file; storage services hide which names exist."""


def open_url(url: str, headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S) -> Any:
    """Open an http(s) URL; the response is a context manager. Errors are those of `urllib.request`."""
    request = urllib.request.Request(url, headers=_HEADERS | dict(headers or {}))  # noqa: S310 - http(s), see below
    return urllib.request.build_opener(SafeRedirect).open(request, timeout=timeout_s)


def fetch_small(url: str, limit_bytes: int) -> bytes | None:
    """Fetch a small file that may be absent.

    Args:
        url: http or https.
        limit_bytes: largest size.

    Returns:
        Its content; None where the server has no such file (or hides it), sends a web page, or the file is larger.

    Raises:
        UsageError: not an http(s) URL.
        DownloadError: unreachable, or the server failed.
    """
    split_url(url)
    try:
        with open_url(url) as response:
            refuse_pages(response)
            content: bytes = response.read(limit_bytes + 1)
    except ValueError:
        return None
    except (OSError, http.client.HTTPException) as error:
        reason = failure_reason(error)
        if isinstance(error, urllib.error.HTTPError) and error.code in _ABSENT:
            return None
        raise DownloadError(f"{url} must be downloadable or absent, got: {reason}. Try again.") from error
    return content if len(content) <= limit_bytes else None


def split_url(url: str) -> urllib.parse.SplitResult:
    """Split a URL; refuse any scheme that urllib would open from the local disk.

    Args:
        url: http or https.

    Returns:
        Its parts.

    Raises:
        UsageError: another scheme, or a malformed URL.
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise UsageError(f"weights URL must be valid, got '{url}' ({error}). Correct it.") from error
    if parts.scheme not in {"http", "https"}:
        raise UsageError(f"weights URL must be http or https, got '{url}'. Download it yourself and give the path.")
    return parts


def failure_reason(error: Exception) -> str:
    """Describe a failed request in a few words, and close its response."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


def refuse_pages(response: http.client.HTTPResponse) -> None:
    """Raise ValueError for a web page or an encoded body."""
    if response.headers.get_content_type() in {"text/html", "application/xhtml+xml"}:
        raise ValueError("a web page instead of a file")
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise ValueError(f"content encoded as {encoding}")


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
