"""A model on a server, and what a client needs to use it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from hrnet_deploy.engines.remote.address import ModelUrl, is_url
from hrnet_deploy.errors import UsageError
from hrnet_deploy.limits import TOKEN_BYTES
from hrnet_deploy.spec import ModelCard
from hrnet_deploy.system.text_file import read_text

TIMEOUT_S = 120.0
"""Limit of one request, from its first byte to the last byte of the response."""
_MAX_TIMEOUT_S = 86_400.0


@dataclass(frozen=True)
class Token:
    """A bearer token. Its `repr` hides the text; a pickle contains it."""

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        # Other characters could end the HTTP header and begin another one.
        if not self.text or not all("!" <= character <= "~" for character in self.text):
            raise UsageError("token must be one word of visible ASCII, got other characters (not shown). Check it.")

    @classmethod
    def read(cls, path: Path) -> Token:
        """Read a token from a file with one line.

        Args:
            path: the file.

        Returns:
            The token.

        Raises:
            MissingFileError: the file does not exist.
            UsageError: it does not hold exactly one line with one word.
        """
        lines = read_text(path, "token file", "one line with a token", TOKEN_BYTES).splitlines()
        if len(lines) != 1:
            raise UsageError(f"token file must hold one line, got {len(lines)} in {path}. Keep the token alone.")
        return cls(lines[0].strip())


@dataclass(frozen=True)
class RemoteModel:
    """A model on a V2 server.

    Attributes:
        url: as `ModelUrl.parse` takes it.
        token: sent as `Authorization: Bearer`; over https, or to this machine.
        card: card for a server that holds none, or in place of the server's.
        timeout_s: seconds for one request.
    """

    url: str
    token: Token | None = None
    card: ModelCard | None = None
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        address = ModelUrl.parse(self.url)
        if self.token is not None and not address.is_private:
            raise UsageError(
                f"a token must be sent over https, because http shows it to the network, got {address.origin}. Use "
                f"https, or a tunnel: ssh -L 8000:localhost:{address.port} {address.host}"
            )
        if not (math.isfinite(self.timeout_s) and 0 < self.timeout_s <= _MAX_TIMEOUT_S):
            raise UsageError(
                f"timeout must be above 0 and at most {_MAX_TIMEOUT_S:,.0f} seconds, got {self.timeout_s}. The default "
                f"is {TIMEOUT_S:g}."
            )

    @property
    def address(self) -> ModelUrl:
        """The parts of the URL."""
        return ModelUrl.parse(self.url)

    def having(self, **options: Any) -> RemoteModel:
        """Return a copy with those fields replaced that are not None."""
        return replace(self, **{name: value for name, value in options.items() if value is not None})

    def __str__(self) -> str:
        return str(self.address)


def is_remote(artifact: object) -> TypeGuard[str | RemoteModel]:
    """Whether an artifact is a model on a server.

    Args:
        artifact: a path, a URL, a `RemoteModel` or another value.

    Returns:
        True for a URL and a `RemoteModel`.
    """
    return isinstance(artifact, RemoteModel) or is_url(artifact)


def runtime_of(artifact: object, artifacts: Iterable[object], device: str, backend: str) -> tuple[str, str]:
    """Choose device and backend for one of several artifacts: a server's are its own, so those given are for the files.

    Args:
        artifact: one of `artifacts`.
        artifacts: paths, URLs and `RemoteModel`s.
        device: device given for all of them.
        backend: backend given for all of them.

    Returns:
        Device and backend to open it with; those given, unless it is on a server and a file is among them.
    """
    has_file = any(isinstance(each, (str, Path)) and not is_url(each) for each in artifacts)
    return ("auto", "auto") if has_file and is_remote(artifact) else (device, backend)
