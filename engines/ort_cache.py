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
from typing import Any

import onnxruntime

from hrnet_deploy.artifact import sha256_file
from hrnet_deploy.cache import cache_folder
from hrnet_deploy.engines.ort_providers import CPU
from hrnet_deploy.engines.ort_session import open_session
from hrnet_deploy.errors import ArtifactError, UsageError

_MOST_BYTES = 4 << 30
_FILE = "net.onnx"


def compiled_folder(runtime: str, model: Path | bytes, *versions: str) -> Path | None:
    """The folder for what a runtime makes of a graph, beside the downloads in the user's cache.

    Args:
        runtime: such as "openvino".
        model: an .onnx file, or the bytes of one.
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
    folder: Path | None, name: str, *, reopen: Callable[[Path], Any], make: Callable[[Path | None], Any]
) -> Any:
    """Open what an earlier start kept, or make it and keep that.

    Args:
        folder: of the graph, from `compiled_folder`; None to keep nothing.
        name: of this kind of it within.
        reopen: opens a kept file.
        make: opens the graph itself and writes what to keep into the file it gets, and beside it what that names.

    Returns:
        onnxruntime.InferenceSession.

    Raises:
        ArtifactError: the graph cannot be opened.
    """
    if folder is None:
        return make(None)
    kept = folder / name
    if kept.is_dir():
        try:
            return reopen(kept / _FILE)
        except ArtifactError:  # damaged; made again below
            shutil.rmtree(kept, ignore_errors=True)
    fresh = folder / f"{name}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        fresh.mkdir()
        session = make(fresh / _FILE)
    except (ArtifactError, OSError):
        # A full disk is no reason not to run; a graph that cannot be opened fails here again.
        session = make(None)
    else:
        with contextlib.suppress(OSError):  # another process was first
            fresh.rename(kept)
            _make_room(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return session


def _make_room(newest: Path) -> None:
    """Remove the folders that were not opened for longest, until all fit into 4 GiB."""
    left = _MOST_BYTES
    others = [folder for folder in newest.parent.iterdir() if folder != newest]
    for folder in (newest, *sorted(others, key=lambda folder: folder.stat().st_mtime, reverse=True)):
        left -= sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if left < 0 and folder != newest:
            shutil.rmtree(folder, ignore_errors=True)


def open_optimised(model: Path, name: str, options: Callable[[], Any]) -> Any:
    """Open a graph on the CPU as ONNX Runtime optimised it at its first start, or optimise and keep it now.

    For INT8 graphs, whose optimisation takes half the time of opening; in FP32 reading the file to know it by its
    content costs what would be gained.

    Args:
        model: an .onnx file.
        name: of the artefact, for the error.
        options: makes the session's onnxruntime.SessionOptions.

    Returns:
        onnxruntime.InferenceSession.

    Raises:
        ArtifactError: ONNX Runtime cannot open it.
    """

    def reopen(kept: Path) -> Any:
        done = options()
        done.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return open_session(kept, name, done, [CPU])

    def make(file: Path | None) -> Any:
        writing = options()
        writing.optimized_model_filepath = str(file or "")
        return open_session(model, name, writing, [CPU])

    # What is fused depends on the kernels there are, and so on the CPU.
    folder = compiled_folder("onnxruntime", model, onnxruntime.__version__, processor())
    return open_kept(folder, "optimised", reopen=reopen, make=make)


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
