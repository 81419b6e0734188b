"""One image from the web, in memory, within limits of size and time."""

from __future__ import annotations

import http.client
import re

from hrnet_deploy.errors import ImageError
from hrnet_deploy.limits import IMAGE_URL_BYTES, IMAGE_URL_S
from hrnet_deploy.system.http_client import failure_reason, open_url, refuse_encoded

_TIMEOUT_S = 20.0
"""Limit of the connection, and of the head of a response."""
_URL = re.compile(r"\s*([a-z][a-z0-9+.-]+):/|\s*(data):", re.IGNORECASE)


def url_scheme(text: str) -> str | None:
    """Return the scheme of a URL, in lower case; None for a path, such as C:/cat.jpg."""
    found = _URL.match(text)
    return None if found is None else (found[1] or found[2]).lower()


def fetch_image(url: str, what: str, *, allowed: bool) -> bytes:
    """Fetch an image from an http(s) URL, at most `IMAGE_URL_BYTES`, if the caller allows it."""
    scheme = url_scheme(url)
    if scheme not in {"http", "https"}:
        raise ImageError(f"{what} must be a file or an http(s) URL, got scheme '{scheme}:'. Save it as a file first.")
    if not allowed:
        raise ImageError(
            f"{what} must be a file, got a URL, which is fetched only on request. Add --allow-url (in Python:"
            " allow_url=True), or download it first."
        )
    try:
        with open_url(url.strip(), timeout_s=_TIMEOUT_S, total_s=IMAGE_URL_S) as body:
            refuse_encoded(body)
            if (body.length or 0) > IMAGE_URL_BYTES:
                raise _too_large(what, f"{body.length} bytes")
            content = body.read_all(IMAGE_URL_BYTES)
    except ImageError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ImageError(f"{what} must be downloadable, got: {failure_reason(error)}. Check the URL.") from error
    if content is None:
        raise _too_large(what, "more")
    return content


def _too_large(what: str, got: str) -> ImageError:
    return ImageError(f"{what} must have at most {IMAGE_URL_BYTES} bytes, got {got}. Download it yourself.")
