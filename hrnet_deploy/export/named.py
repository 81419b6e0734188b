"""An artefact by the name of its weights, exported when it is first asked for."""

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
    """The float32 artefact of zoo weights, in the cache.

    Args:
        name: a zoo name, its publisher's name for it, or a variant.

    Returns:
        The .onnx file, the row it was made from, and the SHA-256 of the weights. It is exported once for each content
        of the weights and each version of this package, and appears whole.

    Raises:
        UsageError: no such row.
        DownloadError: the weights cannot be fetched, or must be fetched by hand.
        HrnetDeployError: whatever exporting raises.
    """
    entry = find_entry(default_weights(name))
    digest = sha256_file(resolve_weights(entry.name))
    path = cache_folder("artifacts") / f"{entry.name}-{digest[:_DIGITS]}-{VERSION}.onnx"
    if not path.is_file():
        # Where the published evaluation keeps an image's shape, so does the graph.
        whole = entry.resize is Resize.LONG_SIDE
        export(entry.name, imgsz="dynamic" if whole else entry.input_hw, output=path)
    return path, entry, digest
