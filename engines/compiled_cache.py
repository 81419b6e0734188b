"""A cache of compiled graphs for the next start: one folder per graph, runtime, version and kind of CPU."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.system.cache_dir import cache_folder
from hrnet_deploy.system.scratch_folder import scratch_folder, sweep

_MAX_BYTES = 4 << 30
_DIGESTS = "SHA256SUMS"

Opened = TypeVar("Opened")


def compiled_folder(runtime: str, model: Path | bytes, *versions: str) -> Path | None:
    """Return the cache folder of a graph, created; None where no folder can be written.

    `versions` are those of everything whose change makes old files useless.
    """
    content = sha256_file(model) if isinstance(model, Path) else hashlib.sha256(model).hexdigest()
    key = hashlib.sha256("\n".join((content, *versions)).encode()).hexdigest()[:32]
    try:
        folder = cache_folder("compiled") / f"{runtime}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # the least recently opened folders are removed first
    except (OSError, UsageError):
        return None
    return folder


def open_cached(
    folder: Path | None,
    name: str,
    *,
    reopen: Callable[[Path], Opened],
    create: Callable[[Path | None], Opened],
) -> Opened:
    """Open the cached form of a graph with `reopen`, or compile it with `create` and cache it.

    `folder` comes from `compiled_folder`. Both functions get the folder of the files, of which `reopen` gets intact
    ones; `create` gets None where nothing can be cached.
    """
    if folder is None:
        return create(None)
    sweep(folder)  # a process killed after the rename left its folder, and no other writer may come
    cached = folder / name
    if cached.is_dir():
        try:
            if _is_intact(cached):
                return reopen(cached)
        except ArtifactError:  # of another build of the runtime
            pass
        shutil.rmtree(cached, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        try:
            fresh = stack.enter_context(scratch_folder(folder))
            opened = create(fresh)
            _write_digests(fresh)
        except (ArtifactError, OSError):
            # A full disk must not prevent a run; a graph that cannot be opened fails here again.
            opened = create(None)
        else:
            with contextlib.suppress(OSError):  # another process was first
                fresh.rename(cached)
                trim_cache(folder)
    return opened


def trim_cache(newest: Path) -> None:
    """Remove the least recently opened folders until all fit into 4 GiB; `newest` stays."""
    left = _MAX_BYTES
    others = [folder for folder in newest.parent.iterdir() if folder != newest]
    for folder in (newest, *sorted(others, key=lambda folder: folder.stat().st_mtime, reverse=True)):
        left -= sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if left < 0 and folder != newest:
            shutil.rmtree(folder, ignore_errors=True)


def _write_digests(folder: Path) -> None:
    """Write the files' digests, which reveal damage: a runtime would compute with damaged weights."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    (folder / _DIGESTS).write_text("".join(f"{sha256_file(path)}  {path.name}\n" for path in files), encoding="utf-8")


def _is_intact(folder: Path) -> bool:
    try:
        lines = (folder / _DIGESTS).read_text(encoding="utf-8").splitlines()
        found = [line.split("  ", 1) for line in lines]
        return bool(found) and all(sha256_file(folder / name) == digest for digest, name in found)
    except (OSError, ValueError, MissingFileError):
        return False
