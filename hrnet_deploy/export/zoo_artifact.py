"""Artifacts by the name of their weights, exported at their first use."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.export.open_source import default_weights
from hrnet_deploy.export.run import export
from hrnet_deploy.models.weights import resolve_weights
from hrnet_deploy.models.zoo import ZooEntry, find_entry
from hrnet_deploy.spec import Resize
from hrnet_deploy.system.cache_dir import cache_folder
from hrnet_deploy.version import VERSION

_DIGITS = 12


def named_artifact(name: str) -> tuple[Path, ZooEntry, str]:
    """Return the float32 artifact of zoo weights from the cache, exported once per content and package version.

    Args:
        name: a zoo name, its publisher's name for it, or a variant.

    Returns:
        The .onnx file, the row of its weights, and their SHA-256.

    Raises:
        UsageError: no such row.
        DownloadError: the weights cannot be fetched, or must be fetched by hand.
        HrnetDeployError: whatever exporting raises.
    """
    entry = find_entry(default_weights(name))
    digest = sha256_file(resolve_weights(entry.name))
    path = cache_folder("artifacts") / f"{entry.name}-{digest[:_DIGITS]}-{VERSION}.onnx"
    if not path.is_file():
        keeps_shape = entry.resize is Resize.LONG_SIDE  # in the published evaluation, so in the graph too
        export(entry.name, imgsz="dynamic" if keeps_shape else entry.input_hw, output=path)
    return path, entry, digest
