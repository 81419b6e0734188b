"""Open a checkpoint of any format and hand out its weights under clean names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hrnet_deploy.errors import CheckpointError, HrnetDeployError, MissingDependencyError
from hrnet_deploy.models.checkpoints.fileformat import FileFormat, identify
from hrnet_deploy.models.checkpoints.names import ClassInfo, class_info
from hrnet_deploy.models.checkpoints.pdparams import read_pdparams
from hrnet_deploy.models.checkpoints.torchfile import read_torch
from hrnet_deploy.models.checkpoints.unwrap import Net, find_net


@dataclass(frozen=True)
class Container:
    """What a checkpoint file holds, as far as weights go.

    Attributes:
        file_format: how it is stored.
        net: weights by the names the source's own code gives them, and where they were found.
        architecture: timm's name of the net, where a training file states it.
        checksums: whether each part had a checksum that was right.
        content: all that the file holds, in plain containers.
        classes: what the file says of its classes.
    """

    file_format: FileFormat
    net: Net
    architecture: str | None
    checksums: bool
    content: object
    classes: ClassInfo = field(default_factory=ClassInfo)


def read_container(path: Path, *, ema: bool = False, key: str | None = None) -> Container:
    """Read a checkpoint; nothing in it is executed.

    Args:
        path: .pth, .pt, .bin, .tar, .safetensors or .pdparams; told apart by content.
        ema: take the averaged copy that training files of timm and mmengine hold. By default the plain weights are
            taken, with one exception: mmengine's EMAHook stores the average as `state_dict` itself.
        key: where in the file the net lies, such as "model_b" or "state_dict.student"; None to look for it.

    Returns:
        Its weights, on the CPU, in their stored dtype.

    Raises:
        MissingFileError: there is no such file.
        MissingDependencyError: a .safetensors file, and the package is not installed.
        CheckpointError: damaged, not a checkpoint, without an HRNet, or with several.
    """
    file_format = identify(path)
    origin = f"checkpoint '{path}'"
    try:
        content, checksums = _read(path, file_format)
        net = find_net(content, origin, ema=ema, key=key)
    except HrnetDeployError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n", 1)[0][:160] or type(error).__name__
        raise CheckpointError(
            f"{origin} must be complete and hold plain tensors, got a file that cannot be read ({reason}). "
            "Fetch it again, or save model.state_dict() with torch.save."
        ) from error
    architecture = content.get("arch") if isinstance(content, Mapping) else None
    return Container(
        file_format=file_format,
        net=net,
        architecture=architecture if isinstance(architecture, str) else None,
        checksums=checksums,
        content=content,
        classes=class_info(content, origin),
    )


def _read(path: Path, file_format: FileFormat) -> tuple[object, bool]:
    if file_format is FileFormat.PADDLE:
        return read_pdparams(path), False
    if file_format is not FileFormat.SAFETENSORS:
        found = read_torch(path, file_format)
        return found.tree, found.checksums
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependencyError(
            "reading .safetensors needs the package safetensors, got none. Run: pip install 'hrnet-deploy[export]'."
        ) from error
    return load_file(path), False
