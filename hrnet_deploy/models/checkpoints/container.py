"""Opening of a checkpoint of any format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.errors import CheckpointError, HrnetDeployError, one_line
from hrnet_deploy.models.checkpoints.checkpoint_file import CheckpointFile, open_checkpoint
from hrnet_deploy.models.checkpoints.file_format import FileFormat, identify
from hrnet_deploy.models.checkpoints.pdparams import read_pdparams
from hrnet_deploy.models.checkpoints.safetensors_file import read_safetensors
from hrnet_deploy.models.checkpoints.torch_file import read_torch
from hrnet_deploy.models.checkpoints.unwrap import ModelWeights, find_model

_REASON_LENGTH = 200


@dataclass(frozen=True)
class Container:
    """The content of a checkpoint file: the model's weights, and everything in plain containers.

    Attributes:
        checksums: whether the parts had checksums, which then were right.
        path: None for tensors in memory.
        sha256: of the file, as it was read.
    """

    weights: ModelWeights
    content: object
    checksums: bool
    path: Path | None
    sha256: str = ""

    @property
    def origin(self) -> str:
        """Name in errors."""
        return f"checkpoint '{self.path}'" if self.path else "state dict"


def read_container(path: Path, *, ema: bool = False, key: str | None = None) -> Container:
    """Read a checkpoint without executing anything in it; the arguments and errors are those of `load_checkpoint`."""
    origin = f"checkpoint '{path}'"
    with open_checkpoint(path) as file:
        try:
            content, checksums = _read(file)
            weights = find_model(content, origin, ema=ema, key=key, stored_bytes=file.size)
            return Container(weights, content, checksums, path, file.sha256())
        except HrnetDeployError:
            raise
        except Exception as error:
            reason = one_line(error, _REASON_LENGTH) or type(error).__name__
            raise CheckpointError(
                f"{origin} must be complete and hold plain tensors, got a file that cannot be read ({reason}). "
                "Fetch it again, or save model.state_dict() with torch.save."
            ) from error


def _read(file: CheckpointFile) -> tuple[object, bool]:
    file_format = identify(file)
    if file_format is FileFormat.PADDLE:
        return read_pdparams(file), False
    if file_format is FileFormat.SAFETENSORS:
        return read_safetensors(file.path), False
    return read_torch(file, file_format)
