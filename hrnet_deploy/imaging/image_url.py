"""One image from the web, in memory: only where that is allowed, and within bounds of size and time."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request

from hrnet_deploy.errors import ImageError
from hrnet_deploy.system.download import SafeRedirect

LIMIT_BYTES = 256 << 20
"""Largest body that is fetched."""
_TIMEOUT_S = 20.0
"""For the connection and for each wait."""
_DEADLINE_S = 120.0
"""For the whole image, so that a server which drips bytes ends too."""
_CHUNK_BYTES = 1 << 16
_URL = re.compile(r"\s*([a-z][a-z0-9+.-]+):/|\s*(data):", re.IGNORECASE)


def url_scheme(text: str) -> str | None:
    """Scheme of a text that is a URL, in lower case; None for a path, such as C:/cat.jpg."""
    found = _URL.match(text)
    return None if found is None else (found[1] or found[2]).lower()


def fetch_image(url: str, what: str, *, allowed: bool) -> bytes:
    """Fetch the content of an image.

    Args:
        url: http or https.
        what: its name in errors.
        allowed: whether the caller asked for URLs to be fetched.

    Returns:
        The file's bytes, at most `LIMIT_BYTES`.

    Raises:
        ImageError: not allowed, another scheme, unreachable, refused, too large, too slow or cut short.
    """
    scheme = url_scheme(url)
    if scheme not in {"http", "https"}:
        raise ImageError(f"{what} must be a file or an http(s) URL, got scheme '{scheme}:'. Save it as a file first.")
    if not allowed:
        raise ImageError(
            f"{what} must be a file, got a URL, which is fetched only on request. Add --allow-url (in Python:"
            " allow_url=True), or download it first."
        )
    request_headers = {"User-Agent": "hrnet-deploy", "Accept-Encoding": "identity"}
    try:
        request = urllib.request.Request(url.strip(), headers=request_headers)  # noqa: S310 - http(s) only, also below
        opener = urllib.request.build_opener(SafeRedirect)
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            return _body(response, what)
    except urllib.error.HTTPError as error:
        error.close()
        raise _failure(what, f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _failure(what, str(error.reason)) from error
    except ImageError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failure(what, str(error) or type(error).__name__) from error


def _body(response: http.client.HTTPResponse, what: str) -> bytes:
    """Read within the bounds; the declared length is believed only as far as it is kept."""
    declared = int(response.headers.get("Content-Length") or -1)
    if declared > LIMIT_BYTES:
        raise _too_large(what, f"{declared} bytes")
    end, parts, size = time.monotonic() + _DEADLINE_S, bytearray(), 0
    while chunk := response.read1(_CHUNK_BYTES):
        size += len(chunk)
        if size > LIMIT_BYTES:
            raise _too_large(what, "more")
        if time.monotonic() > end:
            raise TimeoutError(f"not complete after {_DEADLINE_S:.0f} s")
        parts += chunk
    if declared >= 0 and size < declared:
        raise ConnectionError(f"the connection closed after {size} of {declared} bytes")
    return bytes(parts)


def _too_large(what: str, got: str) -> ImageError:
    return ImageError(f"{what} must have at most {LIMIT_BYTES} bytes, got {got}. Download it yourself.")


def _failure(what: str, reason: str) -> ImageError:
    return ImageError(f"{what} must be downloadable, got: {' '.join(reason.split())}. Check the URL.")
