"""From a checkpoint to a network that is ready to run, and all that is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hrnet_deploy.artifact import sha256_file
from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.architecture import class_count, closest_variant
from hrnet_deploy.models.checkpoints.container import read_container
from hrnet_deploy.models.checkpoints.dialects import OFFICIAL, TIMM, detect, to_official
from hrnet_deploy.models.checkpoints.fit import check_dtypes, check_names_and_shapes, check_values
from hrnet_deploy.models.checkpoints.names import ClassInfo
from hrnet_deploy.models.checkpoints.timm_config import read_timm_config
from hrnet_deploy.models.checkpoints.unwrap import clean_names
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import Variant, find_variant
from hrnet_deploy.spec import Preprocessing


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        network: in evaluation mode, float32, on the CPU; it owns its memory.
        variant: the architecture found; its `head_bias` says whether the head's convolutions have one.
        dialect: whose file it is (`dialects.Dialect.name`).
        num_classes: classes the head tells apart.
        preprocessing: how its source evaluates.
        classes: what the file, or timm's config beside it, says of the classes.
        sha256: hex digest of the file; empty for tensors given in memory.
    """

    network: nn.Module
    variant: Variant
    dialect: str
    num_classes: int
    preprocessing: Preprocessing
    classes: ClassInfo = field(default_factory=ClassInfo)
    sha256: str = ""


def load_checkpoint(
    path: Path, *, variant: str | None = None, num_classes: int | None = None, ema: bool = False
) -> Checkpoint:
    """Load weights of any supported source; nothing in the file is executed.

    Args:
        path: .pth, .pt, .bin, .tar, .safetensors or .pdparams; told apart by content.
        variant: the variant expected; None to take the one found.
        num_classes: the number of classes expected; None to take the one found.
        ema: take the averaged copy of a training file instead of its plain weights (mmengine stores the average
            as the plain weights already).

    Returns:
        The network and what is known about it.

    Raises:
        MissingFileError: there is no such file.
        MissingDependencyError: a .safetensors file, and the package is not installed.
        UsageError: no such variant.
        CheckpointError: damaged, not an HRNet, or not the variant or number of classes expected.
    """
    path = Path(path)
    expected = None if variant is None else find_variant(variant)
    container = read_container(path, ema=ema)
    loaded = _load(container.tensors, expected, num_classes, f"checkpoint '{path}'")
    classes = container.classes
    if loaded.dialect == OFFICIAL.name:
        config = read_timm_config(path, loaded.variant, loaded.num_classes)
        if config or (container.architecture or "").startswith("hrnet_"):
            preprocessing = config.preprocessing if config else TIMM.preprocessing
            loaded = replace(loaded, dialect=TIMM.name, preprocessing=preprocessing)
        if config and config.classes:
            classes = replace(classes, names=config.classes)
    return replace(loaded, classes=classes, sha256=sha256_file(path))


def load_tensors(
    tensors: Mapping[str, Tensor | NDArray[Any]], *, variant: str | None = None, num_classes: int | None = None
) -> Checkpoint:
    """Load weights that are in memory already.

    Args:
        tensors: a state dict of any supported source: float tensors or arrays by name.
        variant: as for `load_checkpoint`.
        num_classes: as for `load_checkpoint`.

    Returns:
        The network and what is known about it; the tensors are copied.

    Raises:
        UsageError: no such variant.
        CheckpointError: not an HRNet, or not the variant or number of classes expected.
    """
    expected = None if variant is None else find_variant(variant)
    given = {name: torch.from_numpy(t) if isinstance(t, np.ndarray) else t for name, t in tensors.items()}
    return _load(clean_names(given), expected, num_classes, "state dict")


def _load(tensors: Mapping[str, Tensor], expected: Variant | None, num_classes: int | None, origin: str) -> Checkpoint:
    dialect = detect(tensors)
    state = to_official(tensors, dialect, origin)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    found = closest_variant(shapes, origin)
    if expected is not None and not expected.same_graph(found):
        raise CheckpointError(
            f"{origin} must hold {expected.name} ({expected.task.value}), got {found.name} ({found.task.value}). "
            "Leave the name out to take what the file holds, or give other weights."
        )
    classes = class_count(shapes, found.task)
    if num_classes is not None and classes is not None and classes != num_classes:
        raise CheckpointError(
            f"{origin} must have {num_classes} classes, got {classes}. Correct --num-classes or leave it out."
        )
    network = build_network(found, classes or found.default_num_classes, device="meta")
    check_names_and_shapes(shapes, network, found, origin)
    check_dtypes(state, origin)
    _fill(network, state)
    check_values(network, origin)
    return Checkpoint(
        network=network,
        variant=found,
        dialect=dialect.name,
        num_classes=classes or found.default_num_classes,
        preprocessing=dialect.preprocessing,
    )


def _fill(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Allocate the network and copy the weights in, cast to float32."""
    network.to_empty(device="cpu")
    network.load_state_dict(dict(state), strict=False)
    for name, buffer in network.named_buffers():
        if name.endswith("num_batches_tracked"):  # the only tensors no file has to bring
            buffer.zero_()
