"""The source of an ONNX graph that an engine opens: a file, or the bytes of one; and its model card."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.artifact.onnx_header import OnnxHeader
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.spec import ModelCard


def check_source(model: Path | bytes, threads: int | None) -> str:
    """Check that the file exists and that threads is at least 1; returns the graph's name for messages."""
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}. Leave it out for all cores.")
    if isinstance(model, bytes):
        return "graph"
    if not model.is_file():
        raise MissingFileError(f"artifact must exist, got {model}. Check the path.")
    return model.name


def graph_card(header: OnnxHeader) -> ModelCard | None:
    """Return the model card of a graph; None without a valid one."""
    try:
        return card_from_metadata(header.metadata, "graph")
    except ArtifactError:
        return None
