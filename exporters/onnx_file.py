"""Reading, description and writing of ONNX files."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from hrnet_deploy.errors import ArtifactError, HrnetDeployError, MissingFileError, UsageError
from hrnet_deploy.exporters.opset import ir_for, newest, written
from hrnet_deploy.models.checkpoints.file_format import something_else
from hrnet_deploy.spec import TensorSpec

_LOG = logging.getLogger(__name__)
_ONE_FILE_LIMIT_BYTES = 2_000_000_000
"""Protobuf cannot hold 2 GiB; names and attributes need a little of it."""


def read(path: Path) -> onnx.ModelProto:
    """Read and check a graph and its weights; external weights must lie in its folder.

    Raises:
        MissingFileError: there is no such file.
        ArtifactError: no ONNX model, a damaged one, a newer opset than the installed runtime opens, or weights outside
            the file's folder.
        UsageError: the weights are larger than one file can hold.
    """
    if not path.is_file():
        raise MissingFileError(f"ONNX file must exist, got {path}. Check the path.")
    if other := something_else(path):
        raise ArtifactError(f"{path.name} must be a valid ONNX model, got: {other}")
    try:
        model = onnx.load(str(path), load_external_data=False)
        _check_versions(model, path.name)
        known = onnx.helper.get_all_tensor_dtypes()  # the checker refuses an unknown type
        tensors = [tensor for tensor in model.graph.initializer if tensor.data_type in known]
        sizes = (math.prod(t.dims) * onnx.helper.tensor_dtype_to_np_dtype(t.data_type).itemsize for t in tensors)
        check_size(sum(sizes), path.name)
        onnx.load_external_data_for_model(model, str(path.parent))
        # Paddle's and TensorFlow's exporters write -1 for an open size; ONNX has no such size.
        for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_value < 0:
                    dim.Clear()
        onnx.checker.check_model(model)
    except HrnetDeployError:
        raise
    except (DecodeError, onnx.checker.ValidationError, ValueError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise ArtifactError(f"{path.name} must be a valid ONNX model, got: {reason}. Export it again.") from error
    _check_interface(model, path.name)
    return model


def describe(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Describe the inputs that are not initializers, and the outputs."""
    return tuple(map(_spec, _inputs(model))), tuple(map(_spec, model.graph.output))


def write(model: onnx.ModelProto, path: Path, metadata: dict[str, str]) -> None:
    """Write one file with string properties; the caller makes the write atomic."""
    onnx.helper.set_model_props(model, metadata)
    onnx.save_model(model, str(path))


def check_size(size_bytes: int, name: str) -> None:
    """Raise UsageError for float32 weights that no ONNX file can hold, before any work is done."""
    if size_bytes > _ONE_FILE_LIMIT_BYTES:
        raise UsageError(
            f"weights of {name} must take less than {_ONE_FILE_LIMIT_BYTES / 1e9:g} GB, the most that one ONNX file "
            f"holds, got {size_bytes / 1e9:.3g} GB. Export a model with fewer classes or channels."
        )


def _check_interface(model: onnx.ModelProto, name: str) -> None:
    """Require one input and tensors as outputs; weights among the inputs are removed from them."""
    # Old files (IR < 4) list weights as inputs, which would make them runtime-settable and block every folding.
    inputs = _inputs(model)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if len(inputs) != 1:
        names = f" of {', '.join(value.name for value in inputs)}" if inputs else ""
        raise ArtifactError(f"{name} must have one input, got {len(inputs)}. Cut the graph to one image input{names}.")
    known = onnx.helper.get_all_tensor_dtypes()
    typed = all(v.type.tensor_type.elem_type in known for v in (*inputs, *model.graph.output))
    if not typed or not model.graph.output:
        raise ArtifactError(f"{name} must take and give tensors, got something else. Export it so.")
    try:
        describe(model)  # fails on a damaged name or size
    except UsageError as error:
        raise ArtifactError(f"{name} must be a valid ONNX model, got: {error} Export it again.") from error


def _check_versions(model: onnx.ModelProto, name: str) -> None:
    """Refuse an opset that the installed runtime cannot open, and lower an IR version that is too new."""
    opset, limit = written(model), newest()
    if opset > limit:
        raise ArtifactError(
            f"{name} must be of opset {limit} at most, the newest that the installed ONNX Runtime opens, got {opset}. "
            "Export it again with an older one, or: pip install -U onnx onnxruntime."
        )
    if model.ir_version > ir_for(newest()):
        older = onnx.helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
        _LOG.warning(
            "%s: IR version %d is newer than ONNX Runtime is known to open; read as %d, which holds opset %d",
            name, model.ir_version, older, opset,
        )  # fmt: skip
        model.ir_version = older


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in weights]


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorSpec(value.name, dtype, tuple(d.dim_param or d.dim_value or "?" for d in tensor.shape.dim))
