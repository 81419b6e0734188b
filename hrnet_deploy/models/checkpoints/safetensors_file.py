"""Reading of .safetensors files through the library of the format."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from hrnet_deploy.errors import CheckpointError, MissingDependencyError
from hrnet_deploy.limits import TENSORS


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors by name; the library checks the header, and that no tensors overlap."""
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise MissingDependencyError(
            "reading .safetensors needs the package safetensors, got none. Run: pip install 'hrnet-deploy[export]'."
        ) from error
    # The other backend maps the file into memory, and a mapped file that is cut ends the process.
    with safe_open(path, framework="pt", backend="pread") as file:
        count = len(file.keys())
        if count > TENSORS:
            raise CheckpointError(f"checkpoint '{path}' must have at most {TENSORS} tensors, got {count}.")
        tensors: dict[str, Tensor] = file.get_tensors()
        return tensors
