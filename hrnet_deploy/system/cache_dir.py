"""Folder of files that can be generated or fetched again."""

from __future__ import annotations

import os
from pathlib import Path

from hrnet_deploy.errors import UsageError


def cache_folder(kind: str) -> Path:
    """Return the folder of one kind of cached file, such as "weights"; it may not exist yet.

    That is $HRNET_DEPLOY_CACHE/kind, else $XDG_CACHE_HOME/hrnet_deploy/kind, else ~/.cache/hrnet_deploy/kind;
    UsageError where none of the three is known.
    """
    return _root() / kind


def _root() -> Path:
    if named := os.environ.get("HRNET_DEPLOY_CACHE"):
        return Path(named)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if Path(shared).is_absolute():  # the XDG specification ignores relative paths
        return Path(shared) / "hrnet_deploy"
    try:
        return Path.home() / ".cache" / "hrnet_deploy"
    except RuntimeError as error:
        raise UsageError("download cache needs a home folder, got none. Set HRNET_DEPLOY_CACHE to a folder.") from error
