"""HTTP requests that follow safe redirects only and accept files, not web pages."""

from __future__ import annotations

import http.client
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from hrnet_deploy.errors import DownloadError, UsageError, one_line
from hrnet_deploy.system.http_body import HttpBody
from hrnet_deploy.system.http_route import Route
from hrnet_deploy.system.text_table import printable

TIMEOUT_S = 30.0
"""Limit of a connection, and again of the head of a response."""
_SMALL_S = 60.0
_REDIRECTS = 10
_HEADERS = {"User-Agent": "hrnet-deploy", "Accept-Encoding": "identity"}
_MOVED = frozenset({301, 302, 303, 307, 308})
_ABSENT = frozenset({400, 401, 403, 404, 405, 410})
"""Status codes of servers for a missing file; storage services hide which names exist."""
_SHOWN_CHARACTERS = 300
_PAGES = frozenset({"text/html", "application/xhtml+xml"})


def open_url(
    url: str, headers: Mapping[str, str] | None = None, *, timeout_s: float = TIMEOUT_S, total_s: float = math.inf
) -> HttpBody:
    """Open an http(s) URL.

    A redirect leads to http(s) only, never from https to http, and never from a public server to a private address.
    The bodies of redirects are not read, and nothing but `headers` is sent to any server.

    Args:
        url: http or https; others are refused by `split_url`.
        headers: of the request.
        timeout_s: limit of each connection, and again of each head, in seconds.
        total_s: limit of the body in seconds.

    Returns:
        The response, a context manager.

    Raises:
        OSError: unreachable or slow; `urllib.error.HTTPError` for a status other than 2xx.
        http.client.HTTPException: a response that is not HTTP.
        ValueError: a refused redirect, or a size that is no number.
    """
    route = Route(timeout_s)
    for _ in range(_REDIRECTS + 1):
        split_url(url)
        request = urllib.request.Request(url, headers=_HEADERS | dict(headers or {}))  # noqa: S310 - http(s) only
        try:
            response = route.open(request)
        except urllib.error.HTTPError as error:
            location = error.headers.get("Location")
            if error.code not in _MOVED or not location:
                raise
            error.close()
            url = route.target(url, location)
            continue
        if route.socket is None:
            raise ConnectionError("no connection")
        try:
            return HttpBody(response, route.socket, total_s)
        except BaseException:
            response.close()
            raise
    raise ValueError(f"more than {_REDIRECTS} redirects")


def fetch_small(url: str, limit_bytes: int) -> bytes | None:
    """Fetch a small file that may be absent.

    Args:
        url: http or https.
        limit_bytes: largest size.

    Returns:
        Its content; None where the server has no such file (or hides it), sends a web page, or the file is larger.

    Raises:
        UsageError: not an http(s) URL.
        DownloadError: unreachable, slow, a refused redirect, or the server failed.
    """
    split_url(url)
    try:
        with open_url(url, total_s=_SMALL_S) as body:
            return None if _is_page(body) or _encoding(body) else body.read_all(limit_bytes)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = failure_reason(error)
        if isinstance(error, urllib.error.HTTPError) and error.code in _ABSENT:
            return None
        raise DownloadError(f"{shown_url(url)} must be downloadable or absent, got: {reason}. Try again.") from error


def split_url(url: str) -> urllib.parse.SplitResult:
    """Split a URL; refuse any scheme that urllib would open from the local disk.

    Args:
        url: http or https.

    Returns:
        Its parts.

    Raises:
        UsageError: another scheme, or a malformed URL.
    """
    shown = printable(url[:_SHOWN_CHARACTERS])
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme in {"http", "https"}:
            parts.port  # noqa: B018 - raises for a wrong one
    except ValueError as error:
        raise UsageError(f"weights URL must be valid, got '{shown}' ({printable(str(error))}). Correct it.") from error
    if parts.scheme not in {"http", "https"}:
        raise UsageError(f"weights URL must be http or https, got '{shown}'. Download it yourself and give the path.")
    return parts


def shown_url(url: str) -> str:
    """Return a URL as errors show it: printable, and without user, query and fragment, which may be secret."""
    parts = urllib.parse.urlsplit(url)
    plain = urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return printable(plain[:_SHOWN_CHARACTERS])


def failure_reason(error: Exception) -> str:
    """Describe a failed request in a few printable words, and close its response."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        text = f"HTTP {error.code} {error.reason}"
    else:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return printable(one_line(text, _SHOWN_CHARACTERS))


def refuse_pages(body: HttpBody) -> None:
    """Raise ValueError for a web page or an encoded body."""
    if _is_page(body):
        raise ValueError("a web page instead of a file")
    refuse_encoded(body)


def refuse_encoded(body: HttpBody) -> None:
    """Raise ValueError for a compressed body, whose size is unknown."""
    if encoding := _encoding(body):
        raise ValueError(f"content encoded as {encoding[:40]}")


def _is_page(body: HttpBody) -> bool:
    return body.headers.get_content_type() in _PAGES


def _encoding(body: HttpBody) -> str:
    encoding: str = body.headers.get("Content-Encoding", "identity")
    return "" if encoding.strip().lower() == "identity" else encoding
