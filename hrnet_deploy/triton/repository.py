"""Model repositories of Triton on disk: a server that polls one never sees a half-written model.

Triton takes every folder of a repository for a model, also a hidden one, and ignores folders of a model whose names are
no numbers (seen with Triton 2.51). Hence a new model is prepared beside the repository, and a version is renamed last.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.artifact.card import CARD_KEY
from hrnet_deploy.artifact.files import sync_files
from hrnet_deploy.errors import UsageError
from hrnet_deploy.system.file_lock import exclusive
from hrnet_deploy.system.scratch_folder import scratch_folder
from hrnet_deploy.system.write_errors import writing
from hrnet_deploy.triton.config_update import parameters_of, read_config, updated_config
from hrnet_deploy.triton.deployable import Deployable, read_deployable
from hrnet_deploy.triton.model_config import (
    LABELS_FILE,
    MODEL_KEY,
    has_labels,
    images_config,
    labels_text,
    max_batch_size,
    model_config,
)
from hrnet_deploy.triton.pbtxt import write_pbtxt
from hrnet_deploy.triton.releases import SUPPORT_MATRIX
from hrnet_deploy.version import VERSION

_LOG = logging.getLogger(__name__)
_CONFIG = "config.pbtxt"
_IMAGES = "_images"
_HEADER = f"# Written by hrnet-deploy {VERSION}. A new version keeps edits of instances, batching and warm-up.\n"
_MODEL_PY = '''"""Image files in, results as JSON out; the model beside this one infers.

Triton's Python needs the package: pip install hrnet-deploy
The Python backend of Triton 24.10 ends at the first request with NumPy 2. There, install these, too:
"numpy<2" "opencv-python-headless<4.12"
"""

from hrnet_deploy.triton.images_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


@dataclass(frozen=True, kw_only=True)
class TritonModel:
    """A model in a Triton repository.

    Attributes:
        name: of the model.
        path: its folder.
        version: number of the version that was written.
        images: name of the model that takes image files; None for none.
        tensorrt: version of the TensorRT that built an engine; "" for .onnx files.
        releases: Triton releases whose TensorRT loads an engine; none where the table has none.
    """

    name: str
    path: Path
    version: int
    images: str | None = None
    tensorrt: str = ""
    releases: tuple[str, ...] = ()


def write_triton_repository(
    artifact: str | os.PathLike[str],
    repository: str | os.PathLike[str],
    *,
    name: str | None = None,
    delay_us: int | None = None,
    images: bool = False,
) -> TritonModel:
    """Write an artifact as a model of a Triton repository, or as a new version of the model that is there.

    Examples:
        >>> write_triton_repository("w18.onnx", "models")  # then: tritonserver --model-repository models

    Args:
        artifact: an .onnx file, or an .engine file with its sidecar, written by hrnet-export. It is copied.
        repository: folder of the repository, created where it is missing.
        name: of the model; None for the artifact's file name without its suffix.
        delay_us: longest wait of Triton for a larger batch in microseconds; None for 0, or what the model has.
        images: also write the model NAME_images, which takes JPEG and PNG files and returns results as JSON. Triton's
            Python needs this package.

    Returns:
        The model.

    Raises:
        MissingFileError: the artifact, its sidecar or its weights are missing.
        ArtifactError: the artifact is damaged, or has no card.
        UsageError: a folder that is no repository or holds another's model, a model that differs from the one it would
            be a version of, a delay without effect, a smallest batch above 1, or an engine that no release loads.
    """
    source = read_deployable(Path(artifact))
    name = model_name(Path(artifact)) if name is None else _checked_name(name)
    check_delay(delay_us)
    if delay_us is not None and max_batch_size(source.card) < 2:
        raise UsageError(
            f"a delay needs an open batch, got a graph that takes {source.card.inputs[0].shape}. Leave it out."
        )
    if images and source.card.headless:
        raise UsageError("--images needs a model with a head, got one with features only. Leave it out.")
    directory = Path(repository)
    check_repository(directory, name, images=images)
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with exclusive(directory / f".{name}", "write"):
            version, images_name = _write(directory, name, source, delay_us, images=images)
    if source.version and not source.releases:
        _LOG.warning(
            "no Triton release with TensorRT %s is in the table: find it in %s", source.version, SUPPORT_MATRIX
        )
    return TritonModel(
        name=name,
        path=directory / name,
        version=version,
        images=images_name,
        tensorrt=source.version,
        releases=tuple(release.triton for release in source.releases),
    )


def model_name(artifact: Path) -> str:
    """Return the name of an artifact's model: its stem, other characters than A-Z, a-z, 0-9, _, - and . replaced."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", artifact.stem).lstrip(".") or "model"


def check_repository(directory: Path, name: str | None, *, images: bool) -> None:
    """Refuse a folder that is no Triton repository, or where others wrote a model of that name.

    Args:
        directory: the folder; one that does not exist is fine.
        name: of the model that is to be written; None if it is not known yet.
        images: the model that takes image files is to be written, too.

    Raises:
        UsageError: such a folder.
        ArtifactError: the configuration of the model cannot be read.
    """
    with writing(directory):
        if not directory.exists():
            return
        if not directory.is_dir():
            raise UsageError(f"Triton repository must be a folder, got the file {directory}. Choose another name.")
        _check_folders(directory)
        for model in () if name is None else (name, f"{name}{_IMAGES}")[: 1 + images]:
            if (directory / model / _CONFIG).exists() and CARD_KEY not in _parameters(directory / model):
                raise UsageError(
                    f"model '{model}' in {directory} must be written by hrnet-deploy, got another's. Choose another "
                    "name or folder."
                )


def check_delay(delay_us: int | None) -> None:
    """Raise UsageError for a negative delay."""
    if delay_us is not None and delay_us < 0:
        raise UsageError(f"delay must be 0 or more microseconds, got {delay_us}. Leave it out.")


def _checked_name(name: str) -> str:
    """Return a name that Triton takes."""
    if name != model_name(Path(f"{name}.onnx")):
        raise UsageError(f"model name must consist of A-Z, a-z, 0-9, _, - and ., got {name!r:.80}. Rename it.")
    return name


def _check_folders(directory: Path) -> None:
    """Refuse a folder that is a model, or that holds folders which are none: Triton would take them for models."""
    if (directory / _CONFIG).exists():
        raise UsageError(
            f"Triton repository must hold models in folders of their own, got the model {directory}. Name its parent."
        )
    for folder in sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")):
        names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]  # none: a write was ended
        if names and _CONFIG not in names and not any(name.isdecimal() for name in names):
            raise UsageError(
                f"Triton repository must hold models only, got the folder {folder}, which is none. Choose another "
                "folder."
            )


def _parameters(folder: Path) -> Mapping[str, str]:
    """Return the parameters of a model's configuration; none where there is no model."""
    return parameters_of(read_config(folder / _CONFIG) or {})


def _write(
    directory: Path, name: str, source: Deployable, delay_us: int | None, *, images: bool
) -> tuple[int, str | None]:
    """Write a version of a model, and the model that takes images for it, both configured before either is written."""
    card, folder, other = source.card, directory / name, directory / f"{name}{_IMAGES}"
    config = _config_text(folder, model_config(name, card, source.sha256, source.backend, delay_us or 0), delay_us)
    images = images or _parameters(other).get(MODEL_KEY) == name  # one that exists follows the card
    images_text = _config_text(other, images_config(other.name, name, card, source.sha256), None) if images else None
    version = _write_version(folder, config, source)
    if images_text is not None:
        _write_images_model(other, images_text)
    return version, None if images_text is None else other.name


def _config_text(folder: Path, config: Mapping[str, object], delay_us: int | None) -> str:
    """Return the configuration of a model, which may be there with another version."""
    path = folder / _CONFIG
    return updated_config(path, config, delay_us) if path.exists() else _HEADER + write_pbtxt(config)


def _write_version(folder: Path, config: str, source: Deployable) -> int:
    """Write a version of an artifact's model and return its number."""
    present = [int(path.name) for path in folder.glob("*") if path.is_dir() and path.name.isdecimal()]
    version = max(present, default=0) + 1
    with scratch_folder(_unread_place(folder)) as scratch:
        content = scratch / f"{version}"
        for name, path in source.files.items():
            (content / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, content / name)
        if has_labels(source.card):
            _write_text(scratch / LABELS_FILE, labels_text(source.card))
        _write_text(scratch / _CONFIG, config)
        _place(scratch, folder)
    return version


def _write_images_model(folder: Path, config: str) -> None:
    """Write the model that takes image files, or only its configuration where it is there."""
    with scratch_folder(_unread_place(folder)) as scratch:
        if not (folder / "1").exists():
            (scratch / "1").mkdir()
            _write_text(scratch / "1" / "model.py", _MODEL_PY)
        _write_text(scratch / _CONFIG, config)
        _place(scratch, folder)


def _place(scratch: Path, folder: Path) -> None:
    """Move what is prepared into place: as a whole, or with the version last."""
    sync_files(scratch)
    if not folder.exists():
        scratch.rename(folder)
        return
    for path in sorted(scratch.iterdir(), key=Path.is_dir):
        path.replace(folder / path.name)


def _unread_place(folder: Path) -> Path:
    """Return a place that Triton does not read: beside the repository, or inside the model on another file system."""
    repository, outside = folder.parent, folder.parent.resolve().parent
    if outside.stat().st_dev != repository.stat().st_dev or not os.access(outside, os.W_OK):
        folder.mkdir(exist_ok=True)
        return folder
    return outside


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
