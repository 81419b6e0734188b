"""One image from the web, in memory, within limits of size and time."""

from __future__ import annotations

import http.client
import re
import time

from hrnet_deploy.errors import ImageError
from hrnet_deploy.system.http_client import failure_reason, open_url

LIMIT_BYTES = 256 << 20
"""Largest body that is fetched."""
_TIMEOUT_S = 20.0
"""Limit of the connection and of each wait."""
_DEADLINE_S = 120.0
"""Limit of the whole image: a server may send single bytes without an end."""
_CHUNK_BYTES = 1 << 16
_URL = re.compile(r"\s*([a-z][a-z0-9+.-]+):/|\s*(data):", re.IGNORECASE)


def url_scheme(text: str) -> str | None:
    """Return the scheme of a URL, in lower case; None for a path, such as C:/cat.jpg."""
    found = _URL.match(text)
    return None if found is None else (found[1] or found[2]).lower()


def fetch_image(url: str, what: str, *, allowed: bool) -> bytes:
    """Fetch an image from an http(s) URL, at most `LIMIT_BYTES`, if the caller allows it."""
    scheme = url_scheme(url)
    if scheme not in {"http", "https"}:
        raise ImageError(f"{what} must be a file or an http(s) URL, got scheme '{scheme}:'. Save it as a file first.")
    if not allowed:
        raise ImageError(
            f"{what} must be a file, got a URL, which is fetched only on request. Add --allow-url (in Python:"
            " allow_url=True), or download it first."
        )
    try:
        with open_url(url.strip(), timeout_s=_TIMEOUT_S) as response:
            return _body(response, what)
    except ImageError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = " ".join(failure_reason(error).split())
        raise ImageError(f"{what} must be downloadable, got: {reason}. Check the URL.") from error


def _body(response: http.client.HTTPResponse, what: str) -> bytes:
    """Read within the limits; a body shorter than its declared length is an error."""
    declared = int(response.headers.get("Content-Length") or -1)
    if declared > LIMIT_BYTES:
        raise _too_large(what, f"{declared} bytes")
    end, body = time.monotonic() + _DEADLINE_S, bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > LIMIT_BYTES:
            raise _too_large(what, "more")
        if time.monotonic() > end:
            raise TimeoutError(f"not complete after {_DEADLINE_S:.0f} s")
    if len(body) < declared:
        raise ConnectionError(f"the connection closed after {len(body)} of {declared} bytes")
    return bytes(body)


def _too_large(what: str, got: str) -> ImageError:
    return ImageError(f"{what} must have at most {LIMIT_BYTES} bytes, got {got}. Download it yourself.")
