"""The source of an ONNX graph that an engine opens: a file, or the bytes of one."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.errors import MissingFileError, UsageError


def check_source(model: Path | bytes, threads: int | None) -> str:
    """Check that the file exists and that threads is at least 1; returns the graph's name for messages."""
    check_threads(threads)
    if isinstance(model, bytes):
        return "graph"
    if not model.is_file():
        raise MissingFileError(f"artifact must exist, got {model}. Check the path.")
    return model.name


def check_threads(threads: int | None) -> None:
    """Refuse fewer than one thread."""
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}. Leave it out for all cores.")
