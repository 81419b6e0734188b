"""The URL of a model on a V2 server."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from dataclasses import dataclass
from typing import TypeGuard

from hrnet_deploy.errors import UsageError
from hrnet_deploy.system.text_table import printable

_SCHEME = re.compile(r"https?:/", re.IGNORECASE)
_PATH = re.compile(r"(?P<prefix>(?:/[^/]+)*)/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/?", re.ASCII)
_VISIBLE = re.compile(r"[!-\[\]-~]+")  # without the backslash
_PORTS = {"http": 80, "https": 443}
_LIMIT_CHARACTERS = 2000
_FORM = "http(s)://HOST:PORT/v2/models/NAME, or .../NAME/versions/N"


def is_url(artifact: object) -> TypeGuard[str]:
    """Whether an artifact is named by a URL.

    Args:
        artifact: a text, a path or another value.

    Returns:
        True for a text that begins with http:// or https://.
    """
    return isinstance(artifact, str) and _SCHEME.match(artifact) is not None


def is_loopback(host: str) -> bool:
    """Whether an address or name is reached from this machine only.

    Args:
        host: an IP address, or a name, of which only "localhost" is known.

    Returns:
        True for loopback addresses and "localhost".
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class ModelUrl:
    """The parts of a model's URL.

    Attributes:
        scheme: "http" or "https".
        prefix: path of the server below the host, such as "/triton"; usually "".
        model: the model's name as the URL spells it.
        version: None for the version that the server chooses.
    """

    scheme: str
    host: str
    port: int
    prefix: str
    model: str
    version: str | None

    @classmethod
    def parse(cls, text: str) -> ModelUrl:
        """Split a URL.

        Args:
            text: such as "http://localhost:8000/v2/models/w18" or "https://example.org/v2/models/w18/versions/3".

        Returns:
            Its parts.

        Raises:
            UsageError: any other form; user names and passwords in the URL are refused, too.
        """
        if len(text) > _LIMIT_CHARACTERS:
            raise UsageError(f"server URL must have at most {_LIMIT_CHARACTERS} characters, got {len(text):,}. Cut it.")
        shown = printable(text[:200])
        try:
            parts = urllib.parse.urlsplit(text)
            scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
        except ValueError as error:
            raise UsageError(f"server URL must be {_FORM}, got '{shown}' ({error}). Correct it.") from error
        if "@" in parts.netloc:
            raise UsageError(
                "server URL must hold no user name or password, got one (not shown). Give a token by --token-file (in "
                "Python: token=)."
            )
        found = _PATH.fullmatch(parts.path)
        segments = parts.path.split("/")
        fits = found and scheme in _PORTS and host and not ({".", ".."} & set(segments)) and port != 0
        if not fits or found is None or parts.query or parts.fragment or not _VISIBLE.fullmatch(text):
            raise UsageError(f"server URL must be {_FORM}, got '{shown}'. Correct it.")
        return cls(scheme, host, port or _PORTS[scheme], found["prefix"], found["model"], found["version"])

    @property
    def origin(self) -> str:
        """Scheme, host and port, such as "http://localhost:8000"."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")

    @property
    def server_path(self) -> str:
        """Path of the server's own metadata."""
        return f"{self.prefix}/v2"

    @property
    def path(self) -> str:
        """Path of the model's metadata."""
        version = "" if self.version is None else f"/versions/{self.version}"
        return f"{self.server_path}/models/{self.model}{version}"

    @property
    def is_private(self) -> bool:
        """Whether what is sent stays hidden from the network: https, or a server on this machine."""
        return self.scheme == "https" or is_loopback(self.host)

    def __str__(self) -> str:
        return self.origin + self.path
