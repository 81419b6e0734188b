"""Artifacts by the name of their weights, exported at their first use."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.entry_point import export
from hrnet_deploy.models.variants import VARIANTS
from hrnet_deploy.models.weights import resolve_weights
from hrnet_deploy.models.zoo import ZooEntry, default_entry, find_entry, list_models, named_entry
from hrnet_deploy.spec import Resize
from hrnet_deploy.system.cache_dir import cache_folder
from hrnet_deploy.version import VERSION

_DIGITS = 12


def named_artifact(name: str) -> tuple[Path, ZooEntry, str]:
    """Return the float32 artifact of zoo weights from the cache, exported once per content and package version.

    `name` is a zoo name, its publisher's name for it, or a variant. The result is the .onnx file, the row of its
    weights, and their SHA-256.

    Raises:
        UsageError: no such row.
        DownloadError: the weights cannot be fetched, or must be fetched by hand.
    """
    entry = find_entry(default_weights(name))
    digest = sha256_file(resolve_weights(entry.name))
    path = cache_folder("artifacts") / f"{entry.name}-{digest[:_DIGITS]}-{VERSION}.onnx"
    if not path.is_file():
        keeps_shape = entry.resize is Resize.LONG_SIDE  # in the published evaluation, so in the graph too
        export(entry.name, imgsz="dynamic" if keeps_shape else entry.input_hw, output=path)
    return path, entry, digest


def default_weights(model: str) -> str:
    """Return the zoo weights that a zoo name, its publisher's name, or a variant stands for; refuse another name."""
    entry = named_entry(model)
    if entry is not None:
        return entry.name
    name = model.strip().lower().replace("-", "_")
    if name not in VARIANTS:
        return find_entry(model).name  # which refuses it and names the closest
    entry = default_entry(name)
    if entry is not None:
        return entry.name
    known = ", ".join(row.name for row in list_models(name))
    hint = f"The zoo knows {known}, to be fetched by hand. " if known else ""
    raise UsageError(f"{name} needs weights, got none. {hint}Give --weights FILE (or 'random' to measure speed).")
