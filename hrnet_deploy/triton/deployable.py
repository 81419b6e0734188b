"""What a Triton repository needs of an artifact, read without a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.artifact.card_check import check_tensors
from hrnet_deploy.artifact.engine_sidecar import check_sidecar, read_sidecar, sidecar_path
from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.artifact.onnx_header import OnnxHeader, read_header
from hrnet_deploy.artifact.plan_file import CLASSIC, read_plan
from hrnet_deploy.engines.feed import agrees
from hrnet_deploy.engines.load import ENGINE_SUFFIXES
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.spec import ModelCard, TensorSpec
from hrnet_deploy.triton.releases import TritonRelease, releases_of

_ONNX_SUFFIX = ".onnx"
_ONNX_FILE, _PLAN_FILE = "model.onnx", "model.plan"


@dataclass(frozen=True, kw_only=True)
class Deployable:
    """An artifact that Triton can load.

    Attributes:
        sha256: digest of the artifact's file.
        backend: Triton's name of the runtime.
        files: file to copy by its path in a version's folder.
        nodes: number of nodes of an .onnx graph; 0 for an engine.
        releases: Triton releases that load an engine; empty for .onnx files, and where none is known.
        version: of the TensorRT that built an engine; "" for .onnx files.
    """

    card: ModelCard
    sha256: str
    backend: str
    files: Mapping[str, Path]
    nodes: int = 0
    releases: tuple[TritonRelease, ...] = ()
    version: str = ""


def read_deployable(path: Path) -> Deployable:
    """Read an artifact's card, digest and files.

    Args:
        path: an .onnx file, or an engine with its sidecar.

    Raises:
        MissingFileError: there is no such file, or one that it needs is missing.
        ArtifactError: it has no card or contradicts it, it is damaged, or weights are outside its folder.
        UsageError: another kind of file, or an engine that no Triton release loads.
    """
    suffix = path.suffix.lower()
    if suffix not in {_ONNX_SUFFIX, *ENGINE_SUFFIXES}:
        raise UsageError(f"artifact must be an .onnx or .engine file, got {path}. Export one with hrnet-export.")
    if not path.is_file():
        raise MissingFileError(f"artifact must be a file, got {path}. Check the path.")
    return _read_onnx(path) if suffix == _ONNX_SUFFIX else _read_engine(path)


def _read_onnx(path: Path) -> Deployable:
    header = read_header(path)
    card = card_from_metadata(header.metadata, str(path))
    _check_tensors(card, header, path.name)
    check_tensors(card, path.name)
    files = {_ONNX_FILE: path}
    for name in sorted(header.external_files):
        relative = PurePosixPath(name)
        if not name or relative.is_absolute() or ".." in relative.parts or "\\" in name:
            raise ArtifactError(f"weights of {path.name} must be in its folder, got {name!r:.80}. Export it again.")
        if name == _ONNX_FILE or not (path.parent / name).is_file():
            raise MissingFileError(
                f"weights of {path.name} must be in {path.parent / name}, got none. Copy them there."
            )
        files[name] = path.parent / name
    return Deployable(
        card=card, sha256=sha256_file(path), backend="onnxruntime", files=files, nodes=sum(header.nodes.values())
    )


def _read_engine(path: Path) -> Deployable:
    beside = sidecar_path(path)
    sidecar = read_sidecar(beside)
    if sidecar is None:
        raise MissingFileError(f"{path.name} must have its sidecar {beside.name} beside it, got none. Copy it there.")
    releases = releases_of(sidecar, path.name)
    check_sidecar(sidecar, plan=path, flavour=CLASSIC, version=sidecar.version, capability=None)
    read_plan(path)
    check_tensors(sidecar.card, path.name)
    return Deployable(
        card=sidecar.card,
        sha256=sidecar.plan_sha256,
        backend="tensorrt",
        files={_PLAN_FILE: path, sidecar_path(Path(_PLAN_FILE)).name: beside},
        releases=releases,
        version=sidecar.version,
    )


def _check_tensors(card: ModelCard, header: OnnxHeader, name: str) -> None:
    """Refuse a card that names other inputs and outputs than the graph, before Triton does."""
    shapes = {**header.inputs, **header.outputs}
    graph = {each: TensorSpec(each, header.dtypes.get(each, ""), shape) for each, shape in shapes.items()}
    specs = (*card.inputs, *card.outputs)
    if graph.keys() != {spec.name for spec in specs} or not all(agrees(spec, graph[spec.name]) for spec in specs):
        raise ArtifactError(f"{name} must have the inputs and outputs its card names, got {shapes}. Export it again.")
