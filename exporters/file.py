"""ONNX files: read a foreign one, describe it, write ours."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.spec import TensorSpec

_ONE_FILE_LIMIT_BYTES = 2_000_000_000
"""Protobuf cannot hold 2 GiB; a little under it, as names and attributes take room, too."""


def read(path: Path) -> onnx.ModelProto:
    """Read a graph and its weights.

    Args:
        path: an ONNX file; external weights must lie in its folder.

    Returns:
        The checked model.

    Raises:
        MissingFileError: there is no such file.
        ArtifactError: it is no ONNX model, a broken one, or one whose weights lie outside its folder.
    """
    if not path.is_file():
        raise MissingFileError(f"ONNX file must exist, got {path}. Check the path.")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ArtifactError(f"{path.name} must be a valid ONNX model, got: {reason}. Export it again.") from error
    # Old files (IR < 4) list weights as inputs, which would make them runtime-settable and block every folding.
    inputs = _inputs(model)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if len(inputs) != 1:
        raise ArtifactError(f"{path.name} must have one input, got {len(inputs)}. Cut the graph to one image input.")
    known = onnx.helper.get_all_tensor_dtypes()
    typed = all(v.type.tensor_type.elem_type in known for v in (*inputs, *model.graph.output))
    if not typed or not model.graph.output:
        raise ArtifactError(f"{path.name} must take and give tensors, got something else. Export it so.")
    try:
        describe(model)  # a damaged name or size is no text
    except UsageError as error:
        raise ArtifactError(f"{path.name} must be a valid ONNX model, got: {error} Export it again.") from error
    return model


def describe(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of a graph.

    Args:
        model: any ONNX model.

    Returns:
        The inputs that are not initializers, and the outputs.
    """
    return tuple(map(_spec, _inputs(model))), tuple(map(_spec, model.graph.output))


def write(model: onnx.ModelProto, path: Path, metadata: dict[str, str]) -> None:
    """Write one file, or weights beside it where protobuf cannot hold them.

    Args:
        model: the graph; gets the metadata.
        path: where to; the caller makes it atomic.
        metadata: string properties to set.
    """
    onnx.helper.set_model_props(model, metadata)
    if model.ByteSize() > _ONE_FILE_LIMIT_BYTES:
        onnx.save_model(model, str(path), save_as_external_data=True, location=f"{path.name}.data")
    else:
        onnx.save_model(model, str(path))


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in weights]


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorSpec(value.name, dtype, tuple(d.dim_param or d.dim_value or "?" for d in tensor.shape.dim))
