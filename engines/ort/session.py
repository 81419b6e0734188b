"""ONNX Runtime sessions: their options, one error for each failure, and no output on stdout."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from hrnet_deploy.artifact.onnx_header import OnnxHeader
from hrnet_deploy.engines.compiled_cache import Files, compiled_folder, open_cached
from hrnet_deploy.engines.graph import check_memory
from hrnet_deploy.engines.runtime_message import tidy
from hrnet_deploy.engines.streams import threads_per_stream
from hrnet_deploy.errors import ArtifactError, UsageError, one_line
from hrnet_deploy.limits import GRAPH_FOLDED_BYTES
from hrnet_deploy.models.checkpoints.file_format import something_else
from hrnet_deploy.spec import TensorSpec
from hrnet_deploy.system.processor import processor_key

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
"""NumPy's names of ONNX Runtime's types."""

_PLACE = re.compile(
    r"/\S+\.(?:cc|h|cpp|hpp):\d+ [^()]*\((?:[^()]|\([^()]*\))*\)"
    r"(?: const)?(?: \[with [^\]]*\])?\s*"
)
"""The place in ONNX Runtime's sources, with the signature of the function."""
_FILE = re.compile(r"(?<!\S)[\w./-]+\.(?:cc|cpp|cu|h|hpp):\d+ [\w:~]+ ")
_LOADING = re.compile(r"Load model from .*? failed:")
_CODE = re.compile(r"\[\w+\] : (?:\d+ : )?[A-Z_]+ : ")
_NODE = re.compile(r"Non-zero status code returned while running (\w+) node\. Name:('[^']*') Status Message: ")
_NEWER_IR = re.compile(r"IR version: (\d+), max supported IR version: (\d+)")
_NEWER_OPSET = re.compile(
    r"Opset (\d+) is under development.*official support for domain ai\.onnx is till opset (\d+)", re.DOTALL
)

_FOLDING = "optimization.constant_folding_max_output_size_in_bytes"
_CPU = "CPUExecutionProvider"
_OPTIMIZED = "net.onnx"
_LOG_WARNINGS, _LOG_NOTHING = 2, 4


def session_options(
    *,
    threads: int | None = None,
    streams: int = 1,
    in_order: bool = False,
    entries: Mapping[str, str] | None = None,
) -> Any:
    """Create onnxruntime.SessionOptions for `streams` runs side by side; `entries` is its configuration by key."""
    options = onnxruntime.SessionOptions()
    # The error that is raised carries the reason, so that a line on stderr would repeat it.
    options.log_severity_level = _LOG_NOTHING
    if streams > 1:
        options.intra_op_num_threads = threads_per_stream(streams, threads)
        # A spinning stream would take a core from the others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    elif threads is not None:
        options.intra_op_num_threads = threads
    if in_order:
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        # The next level's blocked layout moves its reorders, and the nodes that wait for them, to the end.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    for key, value in {_FOLDING: str(GRAPH_FOLDED_BYTES), **(entries or {})}.items():
        options.add_session_config_entry(key, value)
    return options


def open_session(model: Path | bytes, name: str, options: Any, providers: Sequence[Any] | None) -> Any:
    """Open a session whose runs never move to another provider; `providers` is None where the options name them."""
    source = str(model) if isinstance(model, Path) else model
    try:
        with _unlogged():
            # With a fallback, a failing GPU run would be repeated on the CPU, with a message on stdout.
            return onnxruntime.InferenceSession(
                source, options, providers=None if providers is None else list(providers), enable_fallback=0
            )
    except Exception as error:  # ONNX Runtime's own types share no base but Exception
        other = something_else(model) if isinstance(model, Path) else None
        found = other or _newer(str(error)) or reason(error)
        raise ArtifactError(f"{name} must be a model ONNX Runtime can open, got: {found}") from error


def open_optimized(model: Path, name: str, header: OnnxHeader, options: Callable[[], Any]) -> Any:
    """Open an INT8 graph on the CPU as an earlier start optimized it, or optimize it and add it to the cache."""
    # Optimizing takes half the start of an INT8 graph. In FP32, reading the file for its digest would cost the gain.

    def reopen(files: Files) -> Any:
        settings = options()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return open_session(files[_OPTIMIZED].tobytes(), name, settings, [_CPU])

    def create(folder: Path | None) -> Any:
        check_memory(model, name, header)
        settings = options()
        settings.optimized_model_filepath = str(folder / _OPTIMIZED) if folder else ""
        return open_session(model, name, settings, [_CPU])

    # Fusions depend on the available kernels, and so on the CPU.
    versions = (onnxruntime.__version__, processor_key())
    folder = None if header.external else compiled_folder("onnxruntime", model, *versions)
    return open_cached(folder, "optimized", reopen=reopen, create=create)


def describe(session: Any, name: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], Mapping[str, str]]:
    """Return a session's inputs, outputs and metadata; ArtifactError for names and texts that are not UTF-8."""
    try:
        inputs, outputs = (tuple(map(spec, found)) for found in (session.get_inputs(), session.get_outputs()))
        metadata = session.get_modelmeta().custom_metadata_map
    except (UnicodeDecodeError, UsageError) as error:
        raise ArtifactError(
            f"{name} must have names and metadata in UTF-8, got: {one_line(error, 200)}. Export it again."
        ) from error
    texts = {key: value for key, value in metadata.items() if isinstance(key, str) and isinstance(value, str)}
    if len(texts) != len(metadata):
        raise ArtifactError(f"{name} must have names and metadata in UTF-8, got other bytes. Export it again.")
    return inputs, outputs, texts


def spec(value: Any) -> TensorSpec:
    """Convert onnxruntime.NodeArg; "?" is an open dimension without a name."""
    return TensorSpec(value.name, DTYPES.get(value.type, value.type), tuple(d or "?" for d in value.shape))


def reason(error: Exception) -> str:
    """Return ONNX Runtime's message on one line, without its codes and its places in the sources."""
    text = _FILE.sub("", _PLACE.sub("", _LOADING.sub("", _CODE.sub("", one_line(error)))))
    return tidy(_NODE.sub(r"\1 node \2: ", text)) or type(error).__name__


def _newer(text: str) -> str | None:
    """Return what in a file is newer than ONNX Runtime, with the remedy; None where nothing is."""
    if found := _NEWER_IR.search(text):
        return (
            f"IR version {found[1]}, newer than the {found[2]} it knows. Update it (pip install -U onnxruntime), or "
            f"save the file again with model.ir_version = {found[2]} (onnx.load, onnx.save)."
        )
    if found := _NEWER_OPSET.search(text):
        return (
            f"opset {found[1]}, newer than the {found[2]} it knows. Update it (pip install -U onnxruntime), or export "
            f"again with --opset {found[2]}."
        )
    return None


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Silence ONNX Runtime's default logger, which is separate from the session's log."""
    onnxruntime.set_default_logger_severity(_LOG_NOTHING)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(_LOG_WARNINGS)
