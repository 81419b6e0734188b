"""An ONNX graph that an engine opens, a file or the bytes of one: its name, model card and arithmetic."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.artifact.graph_check import OPEN_SIZES, check_external_files, check_graph
from hrnet_deploy.artifact.onnx_header import OnnxHeader
from hrnet_deploy.engines.streams import check_threads
from hrnet_deploy.errors import ArtifactError, MissingFileError
from hrnet_deploy.models.checkpoints.file_format import something_else
from hrnet_deploy.spec import ModelCard
from hrnet_deploy.system.processor import is_arm

_MAX_PASSED = 1000
_passed: set[tuple[int, ...]] = set()
"""Files of this process whose graphs need little memory."""


def check_source(model: Path | bytes, threads: int | None) -> str:
    """Check that the file exists and that threads is at least 1; returns the graph's name for messages."""
    check_threads(threads)
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


def check_memory(model: Path | bytes, name: str, header: OnnxHeader) -> None:
    """Refuse a file whose graph needs too much memory, or an unknown amount, at its card's usual sizes.

    A file that passed is not checked again in this process while it stays unchanged. Bytes are not checked here: they
    are graphs of this package, or of a caller that calls `check_graph`.
    """
    if isinstance(model, bytes):
        return
    check_external_files(model, name, header)
    known = _identity(model)
    if known in _passed:
        return
    if not header.nodes and (other := something_else(model)):
        raise ArtifactError(f"{name} must be a model ONNX Runtime can open, got: {other}")
    card = graph_card(header)
    sizes: tuple[int, ...] = OPEN_SIZES
    if card is not None:
        batch, height, width = card.shapes.opt_nhw
        sizes = (batch, height, width, 3) if card.pixels_in else (batch, 3, height, width)
    check_graph(model, name, header, sizes)
    if len(_passed) < _MAX_PASSED and known == _identity(model):
        _passed.add(known)


def _identity(path: Path) -> tuple[int, ...]:
    """Return numbers that differ for another file, or for the same file after a change."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def arithmetic_of(header: OnnxHeader, *, half: str, single: str = "float32") -> str:
    """Return such as "float32" or "int8 and float32", given the runtime's types for float16 and float32 nodes."""
    floats = half if header.half else single
    return f"int8 and {floats}" if header.quantized else floats


def onnxruntime_cpu_arithmetic(header: OnnxHeader) -> str:
    """Name the arithmetic of a graph on ONNX Runtime's CPU kernels, which on x86 compute float16 nodes in float32."""
    return arithmetic_of(header, half="float16" if is_arm() else "float32")
