"""A cache of compiled graphs for the next start: one folder per graph, runtime, version and kind of CPU."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import TEXT_FILE_BYTES
from hrnet_deploy.system.cache_dir import cache_folder
from hrnet_deploy.system.regular_file import open_regular, read_regular
from hrnet_deploy.system.scratch_folder import scratch_folder, sweep

_MAX_BYTES = 4 << 30
_DIGESTS = "digests.json"

Opened = TypeVar("Opened")
Files = Mapping[str, NDArray[np.uint8]]
"""Content of each file by name."""


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
    reopen: Callable[[Files], Opened],
    create: Callable[[Path | None], Opened],
) -> Opened:
    """Open the cached form of a graph with `reopen`, or compile it with `create` and cache it.

    `folder` comes from `compiled_folder`. `reopen` gets the content of intact files by name; `create` gets the folder
    to write them to, or None where nothing can be cached.
    """
    if folder is None:
        return create(None)
    sweep(folder)  # a process killed after the rename left its folder, and no other writer may come
    cached = folder / name
    if cached.is_dir():
        try:
            if files := _read_intact(cached, folder.name):
                return reopen(files)
        except ArtifactError:  # of another build of the runtime
            pass
        shutil.rmtree(cached, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        try:
            fresh = stack.enter_context(scratch_folder(folder))
            opened = create(fresh)
            _write_digests(fresh, folder.name)
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


def _write_digests(folder: Path, graph: str) -> None:
    """Write the files' digests and the graph's key, which reveal damage and files of another graph."""
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    content = {"graph": graph, "files": files}
    (folder / _DIGESTS).write_text(json.dumps(content, sort_keys=True), encoding="utf-8")


def _read_intact(folder: Path, graph: str) -> Files | None:
    """Return the files that were written for a graph; None where one was changed, added or removed.

    They are read once, so that no other content can be opened than the one that was checked.
    """
    try:
        content = parse_json(read_regular(folder / _DIGESTS, "digests", TEXT_FILE_BYTES, ArtifactError))
        digests = content["files"]
        # Names that are in the folder lead nowhere else.
        names = {path.name for path in folder.iterdir() if not path.is_symlink()}
        if content["graph"] != graph or names != {*digests, _DIGESTS} or not digests:
            return None
        files = {name: _read(folder / name) for name in digests}
        intact = all(hashlib.sha256(files[name].data).hexdigest() == digests[name] for name in digests)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MissingFileError, MemoryError):
        return None
    return files if intact else None


def _read(path: Path) -> NDArray[np.uint8]:
    """Read a file; not mapped, because a mapped file that is cut short ends the process."""
    with open_regular(path, "compiled graph", ArtifactError) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_BYTES:
            raise ArtifactError(f"compiled graph must have at most {_MAX_BYTES} bytes, got {size} in {path}.")
        return np.fromfile(file, np.uint8, size)
