"""The properties of an artifact that can be read without running it."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata
from hrnet_deploy.artifact.engine_sidecar import EngineSidecar, read_sidecar, sidecar_path
from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.artifact.plan_file import read_plan
from hrnet_deploy.engines.load import ENGINE_SUFFIXES
from hrnet_deploy.engines.tensorrt.layers import Layer
from hrnet_deploy.errors import ArtifactError, MissingFileError, one_line
from hrnet_deploy.spec import ModelCard, Precision
from hrnet_deploy.system.regular_file import read_regular

_GRAPH_LIMIT_BYTES = 2 << 30
"""Size limit of a protocol buffer, hence of an ONNX file."""
_INTEGER_CONVOLUTIONS = frozenset({"QLinearConv", "ConvInteger"})


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The properties of a file.

    Attributes:
        kind: "onnx" or "engine".
        size_bytes: of the file and of external weights.
        card: None for another tool's file, or an engine without its sidecar.
        sidecar: of an engine; None if it is missing.
        flavour: of an engine, "tensorrt", "tensorrt-rtx" or "".
        version: of the TensorRT that built an engine, or "".
        nodes: of an .onnx graph, number by operator.
        opset: of an .onnx graph; 0 if it states none.
        external: whether an .onnx file keeps weights in other files.
        convolutions: of an .onnx graph, number by requested precision; None if `onnx` is not installed.
        metadata: of an engine from Ultralytics.
    """

    path: Path
    kind: str
    size_bytes: int
    sha256: str
    card: ModelCard | None
    sidecar: EngineSidecar | None = None
    flavour: str = ""
    version: str = ""
    nodes: Mapping[str, int] = field(default_factory=dict)
    opset: int = 0
    external: bool = False
    convolutions: Mapping[str, int] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def inspect(path: Path) -> Inspection:
    """Read an artifact without running it.

    Args:
        path: an .onnx or .engine file.

    Returns:
        Its properties.

    Raises:
        MissingFileError: there is no such file.
        ArtifactError: it is damaged, or neither an ONNX graph nor a TensorRT plan.
    """
    if not path.is_file():
        raise MissingFileError(f"artifact must be a file, got {path}. Check the path.")
    suffix = path.suffix.lower()
    if suffix in ENGINE_SUFFIXES:
        return _engine(path)
    if suffix == ".onnx":
        return _onnx(path)
    raise ArtifactError(f"artifact must be an .onnx or .engine file, got {path}. Export one with hrnet-export.")


def read_kernels(inspection: Inspection) -> tuple[Layer, ...]:
    """Load an engine with TensorRT and list its kernels; engines are code.

    Args:
        inspection: from `inspect`, of an engine.

    Returns:
        Its kernels in order.

    Raises:
        ArtifactError: it is no engine.
        DeviceError: no GPU here is one that it was built for.
        MissingDependencyError: TensorRT or CUDA's bindings are not installed.
        BuildError: TensorRT cannot load it.
    """
    path = inspection.path
    if inspection.kind != "engine":
        raise ArtifactError(f"kernels are an engine's, got {path.name}. Build one: hrnet-export -o NAME.engine")
    from hrnet_deploy.artifact.engine_sidecar import check_sidecar
    from hrnet_deploy.artifact.plan_file import check_plan
    from hrnet_deploy.engines.cuda.provider import open_cuda
    from hrnet_deploy.engines.tensorrt.api import find_api
    from hrnet_deploy.engines.tensorrt.builder import inspect as inspect_layers
    from hrnet_deploy.engines.tensorrt.load_checks import check_gpu

    plan = read_plan(path)
    api = find_api(inspection.flavour or "auto")
    cuda = open_cuda()
    check_gpu(0, "auto", path.name, cuda)
    if inspection.sidecar is None:
        check_plan(plan, name=path.name, flavour=api.flavour, version=api.version)
    else:
        here = {"flavour": api.flavour, "version": api.version, "capability": cuda.capability(0)}
        check_sidecar(inspection.sidecar, plan=path, **here, content=plan.content)
    with cuda.active(0):
        return inspect_layers(api, bytes(plan.plan))


def convolutions_by_type(layers: tuple[Layer, ...]) -> dict[str, int]:
    """Count an engine's convolutions by TensorRT's name of their input type, such as "Half"; most frequent first."""
    counts = collections.Counter(layer.data_type or "?" for layer in layers if layer.convolves)
    return dict(counts.most_common())


def _onnx(path: Path) -> Inspection:
    header = read_header(path)
    if not header.nodes:
        raise ArtifactError(
            f"{path.name} must be an ONNX model, got a file without a readable graph ({path.stat().st_size:,} bytes). "
            "Copy or export it again."
        )
    weights = path.with_name(f"{path.name}.data")
    size = path.stat().st_size + (weights.stat().st_size if weights.is_file() else 0)
    return Inspection(
        path=path,
        kind="onnx",
        size_bytes=size,
        sha256=sha256_file(path),
        card=_card(header.metadata, path),
        nodes=dict(sorted(header.nodes.items(), key=lambda entry: (-entry[1], entry[0]))),
        opset=header.opset,
        external=header.external,
        convolutions=_count_convolutions(path),
    )


def _count_convolutions(path: Path) -> dict[str, int] | None:
    """Count convolutions by the precision the graph requests; external weights are not read."""
    try:
        import onnx
        from google.protobuf.message import DecodeError

        from hrnet_deploy.exporters.convolutions import conv_precisions
    except ImportError:
        return None
    if path.stat().st_size > _GRAPH_LIMIT_BYTES:
        return None
    try:
        model = onnx.load_model_from_string(read_regular(path, "model", _GRAPH_LIMIT_BYTES, ArtifactError))
        precisions = list(conv_precisions(model).values())
        # Other tools write graphs of integer nodes.
        precisions += [Precision.INT8 for node in model.graph.node if node.op_type in _INTEGER_CONVOLUTIONS]
    except (DecodeError, ValueError, KeyError, IndexError, OSError, RuntimeError) as error:
        reason = one_line(error, 200)
        raise ArtifactError(f"{path.name} must hold a valid graph, got: {reason}. Export it again.") from error
    return {precision.value: count for precision, count in collections.Counter(precisions).most_common()}


def _engine(path: Path) -> Inspection:
    plan = read_plan(path)
    sidecar = read_sidecar(sidecar_path(path))
    return Inspection(
        path=path,
        kind="engine",
        size_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        card=None if sidecar is None else sidecar.card,
        sidecar=sidecar,
        flavour=sidecar.flavour if sidecar else plan.flavour,
        version=sidecar.version if sidecar else plan.version,
        metadata=plan.metadata,
    )


def _card(metadata: Mapping[str, str], path: Path) -> ModelCard | None:
    return card_from_metadata(metadata, str(path)) if CARD_KEY in metadata else None
