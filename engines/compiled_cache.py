"""What runtimes made of a graph, kept for the next start: one folder a graph, runtime, version and kind of CPU."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.system.cache_dir import cache_folder

_MOST_BYTES = 4 << 30
_SUMS = "SHA256SUMS"

Opened = TypeVar("Opened")


def compiled_folder(runtime: str, model: Path | bytes, *versions: str) -> Path | None:
    """The folder for what a runtime makes of a graph, beside the downloads in the user's cache.

    Args:
        runtime: such as "openvino".
        model: an .onnx file that holds its weights, or the bytes of one.
        versions: of everything whose change makes old files useless.

    Returns:
        An existing folder; None where there is no place to write, and nothing is kept.
    """
    content = sha256_file(model) if isinstance(model, Path) else hashlib.sha256(model).hexdigest()
    key = hashlib.sha256("\n".join((content, *versions)).encode()).hexdigest()[:32]
    try:
        folder = cache_folder("compiled") / f"{runtime}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # the least recently opened go first
    except (OSError, UsageError):
        return None
    return folder


def open_kept(
    folder: Path | None, name: str, *, reopen: Callable[[Path], Opened], make: Callable[[Path | None], Opened]
) -> Opened:
    """Open what an earlier start kept, or make it and keep that.

    Args:
        folder: of the graph, from `compiled_folder`; None to keep nothing.
        name: of this kind of it within.
        reopen: opens what lies in the folder it gets; each file there is as it was written.
        make: opens the graph itself and writes what to keep into the folder it gets.

    Returns:
        What `reopen` or `make` returned.

    Raises:
        ArtifactError: the graph cannot be opened.
    """
    if folder is None:
        return make(None)
    kept = folder / name
    if kept.is_dir():
        try:
            if _intact(kept):
                return reopen(kept)
        except ArtifactError:  # of another build of the runtime; made again below
            pass
        shutil.rmtree(kept, ignore_errors=True)
    fresh = folder / f"{name}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        fresh.mkdir()
        opened = make(fresh)
        _write_sums(fresh)
    except (ArtifactError, OSError):
        # A full disk is no reason not to run; a graph that cannot be opened fails here again.
        opened = make(None)
    else:
        with contextlib.suppress(OSError):  # another process was first
            fresh.rename(kept)
            make_room(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return opened


def _write_sums(folder: Path) -> None:
    """Write down the digests, so that a damaged file is noticed: a runtime would compute with damaged weights."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    (folder / _SUMS).write_text("".join(f"{sha256_file(path)}  {path.name}\n" for path in files), encoding="utf-8")


def _intact(folder: Path) -> bool:
    """Whether every file is as it was written."""
    try:
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
        found = [line.split("  ", 1) for line in lines]
        return bool(found) and all(sha256_file(folder / name) == digest for digest, name in found)
    except (OSError, ValueError, MissingFileError):
        return False


def make_room(newest: Path) -> None:
    """Remove the folders that were not opened for longest, until all fit into 4 GiB.

    Args:
        newest: folder that stays, from `compiled_folder`.
    """
    left = _MOST_BYTES
    others = [folder for folder in newest.parent.iterdir() if folder != newest]
    for folder in (newest, *sorted(others, key=lambda folder: folder.stat().st_mtime, reverse=True)):
        left -= sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if left < 0 and folder != newest:
            shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def processor() -> str:
    """What tells kinds of CPU apart: architecture, model and instruction sets.

    Returns:
        A text.
    """
    try:
        content = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        content = ""
    lines = sorted(set(re.findall(r"^(?:model name|flags|Features|CPU part)\s*:.*$", content, re.MULTILINE)))
    return "\n".join((platform.machine(), platform.processor(), *lines))
