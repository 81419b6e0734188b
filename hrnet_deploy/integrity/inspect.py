"""What can be known of an artefact without running it."""

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
from hrnet_deploy.errors import (
    ArtifactError,
    MissingFileError,
)
from hrnet_deploy.spec import ModelCard, Precision

_CARD_LIMIT_CHARACTERS = 8 << 20
_GRAPH_LIMIT_BYTES = 2 << 30
"""No protocol buffer is larger, so no ONNX file is; what is would only fill the memory."""
_INTEGER_CONVOLUTIONS = frozenset({"QLinearConv", "ConvInteger"})


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a file says of itself.

    Attributes:
        path: the file.
        kind: "onnx" or "engine".
        size_bytes: of the file, with weights that lie beside it.
        sha256: of the file, in hex.
        card: None for a foreign file, or an engine without its sidecar.
        facts: an engine's sidecar; None where there is none.
        flavour: of an engine, "tensorrt", "tensorrt-rtx" or "".
        version: of the TensorRT that built an engine, or "".
        nodes: of an .onnx graph, how many there are by kind.
        convolutions: of an .onnx graph, how many are asked for in each precision; None where `onnx` is not installed.
        metadata: an engine's foreign metadata (Ultralytics').
    """

    path: Path
    kind: str
    size_bytes: int
    sha256: str
    card: ModelCard | None
    facts: EngineSidecar | None = None
    flavour: str = ""
    version: str = ""
    nodes: Mapping[str, int] = field(default_factory=dict)
    convolutions: Mapping[str, int] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def inspect(path: Path) -> Inspection:
    """Read an artefact; nothing in it is run.

    Args:
        path: an .onnx or .engine file.

    Returns:
        What it says.

    Raises:
        MissingFileError: there is no such file.
        ArtifactError: it is damaged, or neither an ONNX graph nor a TensorRT plan.
    """
    if not path.is_file():
        raise MissingFileError(f"artefact must be a file, got {path}. Check the path.")
    suffix = path.suffix.lower()
    if suffix in ENGINE_SUFFIXES:
        return _engine(path)
    if suffix == ".onnx":
        return _onnx(path)
    raise ArtifactError(f"artefact must be an .onnx or .engine file, got {path}. Export one with hrnet-export.")


def kernels(found: Inspection) -> tuple[Layer, ...]:
    """What TensorRT says an engine runs; loads it, and engines are code.

    Args:
        found: from `inspect`, of an engine.

    Returns:
        Its kernels in order.

    Raises:
        ArtifactError: it is no engine.
        DeviceError: there is no GPU it was built for.
        MissingDependencyError: TensorRT or CUDA's bindings are not installed.
        BuildError: TensorRT cannot load it.
    """
    if found.kind != "engine":
        raise ArtifactError(f"kernels are an engine's, got {found.path.name}. Build one: hrnet-export -o NAME.engine")
    from hrnet_deploy.artifact.engine_sidecar import check_sidecar
    from hrnet_deploy.artifact.plan_file import check_plan
    from hrnet_deploy.engines.cuda.provider import open_cuda
    from hrnet_deploy.engines.tensorrt.api import find_api
    from hrnet_deploy.engines.tensorrt.builder import inspect as ask
    from hrnet_deploy.engines.tensorrt.load_checks import check_gpu

    plan = read_plan(found.path)
    api = find_api(found.flavour or "auto")
    cuda = open_cuda()
    check_gpu(0, "auto", found.path.name, cuda)
    if found.facts is None:
        check_plan(plan, name=found.path.name, flavour=api.flavour, version=api.version)
    else:
        here = {"flavour": api.flavour, "version": api.version, "capability": cuda.capability(0)}
        check_sidecar(found.facts, plan=found.path, **here)
    with cuda.active(0):
        return ask(api, bytes(plan.plan))


def layers_by_precision(layers: tuple[Layer, ...]) -> dict[str, int]:
    """Convolutions of an engine by the type of the data they read.

    Args:
        layers: its kernels.

    Returns:
        Count by TensorRT's name of the type, such as "Half"; most frequent first.
    """
    counts = collections.Counter(layer.data_type or "?" for layer in layers if layer.convolves)
    return dict(counts.most_common())


def _onnx(path: Path) -> Inspection:
    header = read_header(path)
    if not header.nodes:
        raise ArtifactError(
            f"{path.name} must be an ONNX model, got a file without a readable graph ({path.stat().st_size:,} bytes). "
            "Copy or export it again."
        )
    beside = path.with_name(f"{path.name}.data")
    size = path.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)
    return Inspection(
        path=path,
        kind="onnx",
        size_bytes=size,
        sha256=sha256_file(path),
        card=_card(header.metadata, path),
        nodes=dict(sorted(header.nodes.items(), key=lambda entry: (-entry[1], entry[0]))),
        convolutions=_asked(path),
    )


def _asked(path: Path) -> dict[str, int] | None:
    """Convolutions by the precision written into the graph; weights in a file of their own are not needed for that."""
    try:
        import onnx
        from google.protobuf.message import DecodeError

        from hrnet_deploy.exporters.conv_precision import conv_precisions
    except ImportError:
        return None
    if path.stat().st_size > _GRAPH_LIMIT_BYTES:
        return None
    try:
        model = onnx.load(str(path), load_external_data=False)
        asked = list(conv_precisions(model).values())
        # Graphs of integer nodes, as other tools write them.
        asked += [Precision.INT8 for node in model.graph.node if node.op_type in _INTEGER_CONVOLUTIONS]
    except (DecodeError, ValueError, KeyError, IndexError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{path.name} must hold a valid graph, got: {reason}. Export it again.") from error
    return {precision.value: count for precision, count in collections.Counter(asked).most_common()}


def _engine(path: Path) -> Inspection:
    plan = read_plan(path)
    facts = read_sidecar(sidecar_path(path))
    return Inspection(
        path=path,
        kind="engine",
        size_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        card=None if facts is None else facts.card,
        facts=facts,
        flavour=facts.flavour if facts else plan.flavour,
        version=facts.version if facts else plan.version,
        metadata=plan.metadata,
    )


def _card(metadata: Mapping[str, str], path: Path) -> ModelCard | None:
    text = metadata.get(CARD_KEY)
    if text is None:
        return None
    if len(text) > _CARD_LIMIT_CHARACTERS:
        raise ArtifactError(
            f"card of {path.name} must be under {_CARD_LIMIT_CHARACTERS >> 20} MiB, got {len(text):,} characters. "
            "Export it again."
        )
    return card_from_metadata(metadata, str(path))
