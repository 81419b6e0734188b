"""Where runtimes keep what they compiled: one folder a graph, runtime and version."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hrnet_deploy.artifact import sha256_file
from hrnet_deploy.errors import UsageError
from hrnet_deploy.weights import weights_folder


def compiled_folder(runtime: str, model: Path | bytes, *versions: str) -> Path | None:
    """The folder for what a runtime compiles from a graph, beside the downloads in the user's cache.

    Args:
        runtime: such as "openvino".
        model: an .onnx file, or the bytes of one.
        versions: of everything whose change makes old files useless.

    Returns:
        An existing folder; None where there is no place to write, and nothing is kept.
    """
    content = sha256_file(model) if isinstance(model, Path) else hashlib.sha256(model).hexdigest()
    key = hashlib.sha256("\n".join((content, *versions)).encode()).hexdigest()[:32]
    try:
        folder = weights_folder().parent / "compiled" / f"{runtime}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, UsageError):
        return None
    return folder
