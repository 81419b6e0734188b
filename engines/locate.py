"""The model that a path or a URL names."""

from __future__ import annotations

import os
from pathlib import Path

from hrnet_deploy.engines.remote.address import is_url
from hrnet_deploy.engines.remote.remote_model import RemoteModel, Token
from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.zoo import has_name
from hrnet_deploy.spec import ModelCard

_SUFFIXES = frozenset({".onnx", ".engine"})


def locate_model(
    path: str | os.PathLike[str] | RemoteModel, card: ModelCard | None, token: str | None, timeout: float | None
) -> Path | RemoteModel:
    """Return the file, which a name of the zoo is not, or the model on a server with its options."""
    path = RemoteModel(path) if is_url(path) else path
    if isinstance(path, RemoteModel):
        return path.having(card=card, token=None if token is None else Token(token), timeout_s=timeout)
    file = Path(path)
    if token is not None or timeout is not None:
        raise UsageError(f"token and timeout apply to a server's URL only, got one for {file}. Leave it out.")
    if file.suffix not in _SUFFIXES and has_name(str(file)) and not file.exists():
        raise UsageError(
            f"artifact must be a file, got the zoo name {file}. Make one: hrnet-export {file} -o NAME.onnx; "
            "hrnet-predict does so by itself."
        )
    return file
