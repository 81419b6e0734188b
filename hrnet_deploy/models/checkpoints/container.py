"""Opening of a checkpoint of any format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.errors import CheckpointError, HrnetDeployError, MissingDependencyError
from hrnet_deploy.models.checkpoints.file_format import FileFormat, identify
from hrnet_deploy.models.checkpoints.pdparams import read_pdparams
from hrnet_deploy.models.checkpoints.torch_file import read_torch
from hrnet_deploy.models.checkpoints.unwrap import ModelWeights, find_model


@dataclass(frozen=True)
class Container:
    """The content of a checkpoint file: the model's weights, and everything in plain containers.

    Attributes:
        checksums: whether the parts had checksums, which then were right.
        path: None for tensors in memory.
    """

    weights: ModelWeights
    content: object
    checksums: bool
    path: Path | None

    @property
    def origin(self) -> str:
        """Name in errors."""
        return f"checkpoint '{self.path}'" if self.path else "state dict"


def read_container(path: Path, *, ema: bool = False, key: str | None = None) -> Container:
    """Read a checkpoint without executing anything in it; the arguments and errors are those of `load_checkpoint`."""
    file_format = identify(path)
    origin = f"checkpoint '{path}'"
    try:
        content, checksums = _read(path, file_format)
        return Container(find_model(content, origin, ema=ema, key=key), content, checksums, path)
    except HrnetDeployError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:160] or type(error).__name__
        raise CheckpointError(
            f"{origin} must be complete and hold plain tensors, got a file that cannot be read ({reason}). "
            "Fetch it again, or save model.state_dict() with torch.save."
        ) from error


def _read(path: Path, file_format: FileFormat) -> tuple[object, bool]:
    if file_format is FileFormat.PADDLE:
        return read_pdparams(path), False
    if file_format is not FileFormat.SAFETENSORS:
        return read_torch(path, file_format)
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependencyError(
            "reading .safetensors needs the package safetensors, got none. Run: pip install 'hrnet-deploy[export]'."
        ) from error
    return load_file(path), False
