"""An ONNX graph that an engine opens, a file or the bytes of one: its name, model card and arithmetic."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.artifact.graph_check import OPEN_SIZES, check_external_files, check_graph
from hrnet_deploy.artifact.onnx_header import OnnxHeader
from hrnet_deploy.engines.streams import check_threads
from hrnet_deploy.errors import ArtifactError, MissingFileError
from hrnet_deploy.models.checkpoints.file_format import something_else
from hrnet_deploy.spec import ModelCard
from hrnet_deploy.system.processor import is_arm


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

    Bytes are not checked here: they are graphs of this package, or of a caller that calls `check_graph`.
    """
    if isinstance(model, bytes):
        return
    if not header.nodes and (other := something_else(model)):
        raise ArtifactError(f"{name} must be a model ONNX Runtime can open, got: {other}")
    card = graph_card(header)
    sizes: tuple[int, ...] = OPEN_SIZES
    if card is not None:
        batch, height, width = card.shapes.opt_nhw
        sizes = (batch, height, width, 3) if card.pixels_in else (batch, 3, height, width)
    check_graph(model, name, header, sizes)


@contextlib.contextmanager
def checked_beside(model: Path | bytes, name: str, header: OnnxHeader | None) -> Iterator[None]:
    """Check a file in a thread while ONNX Runtime opens it, which takes no memory for tensors; the check comes first.

    An error of the check replaces one of ONNX Runtime only where it would be the first.
    """
    if isinstance(model, bytes) or header is None:
        yield
        return
    check_external_files(model, name, header)
    with ThreadPoolExecutor(1, thread_name_prefix="graph-check") as worker:
        checking = worker.submit(check_memory, model, name, header)
        yield
        checking.result()


def arithmetic_of(header: OnnxHeader, *, half: str, single: str = "float32") -> str:
    """Return such as "float32" or "int8 and float32", given the runtime's types for float16 and float32 nodes."""
    floats = half if header.half else single
    return f"int8 and {floats}" if header.quantized else floats


def onnxruntime_cpu_arithmetic(header: OnnxHeader) -> str:
    """Name the arithmetic of a graph on ONNX Runtime's CPU kernels, which on x86 compute float16 nodes in float32."""
    return arithmetic_of(header, half="float16" if is_arm() else "float32")
