"""From a checkpoint to a network that is ready to run, and all that is known about it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.architecture import class_count, closest_variant
from hrnet_deploy.models.checkpoints.container import Container, read_container
from hrnet_deploy.models.checkpoints.corners import resolve_corners
from hrnet_deploy.models.checkpoints.damage import signs_of_damage
from hrnet_deploy.models.checkpoints.dialects import OFFICIAL, OFFICIAL_SEG, TIMM, detect, to_official
from hrnet_deploy.models.checkpoints.fit import check_dtypes, check_names_and_shapes, check_values, split_beside
from hrnet_deploy.models.checkpoints.inplace_abn import negative_scales, with_magnitudes
from hrnet_deploy.models.checkpoints.names import ClassInfo
from hrnet_deploy.models.checkpoints.timm_config import read_timm_config
from hrnet_deploy.models.checkpoints.tree import Leaf
from hrnet_deploy.models.checkpoints.unwrap import Net, find_net
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import Variant, find_variant
from hrnet_deploy.spec import Preprocessing

_LOG = logging.getLogger(__name__)
_SHOWN = 4
_MOMENT = re.compile(r"(^|[._])(mean|std)$")


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


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """How weights are to be understood; `load_checkpoint` says what each field means."""

    variant: str | None = None
    num_classes: int | None = None
    align_corners: bool | None = None
    inplace_abn: bool = False


def load_checkpoint(
    path: Path,
    *,
    variant: str | None = None,
    num_classes: int | None = None,
    ema: bool = False,
    weights_key: str | None = None,
    align_corners: bool | None = None,
    inplace_abn: bool = False,
) -> Checkpoint:
    """Load weights of any supported source; nothing in the file is executed.

    What is assumed or left out is logged, one line each.

    Args:
        path: .pth, .pt, .bin, .tar, .safetensors or .pdparams; told apart by content.
        variant: the variant expected; None to take the one found.
        num_classes: the number of classes expected; None to take the one found.
        ema: take the averaged copy of a training file instead of its plain weights (mmengine stores the average
            as the plain weights already).
        weights_key: where in the file the net lies, such as "model_b" or "state_dict.student"; None to look for it.
        align_corners: how a segmentation net resizes; None for what the file or a yaml beside it says, else False.
        inplace_abn: whether its batch norms are InPlaceABN's, which scale by magnitudes.

    Returns:
        The network and what is known about it.

    Raises:
        MissingFileError: there is no such file.
        MissingDependencyError: a .safetensors file, and the package is not installed.
        UsageError: no such variant, or an option that does not apply to this net.
        CheckpointError: damaged, not an HRNet, or not the variant or number of classes expected.
    """
    path = Path(path)
    if variant is not None:
        find_variant(variant)  # before the file is read
    reading = _Reading(variant=variant, num_classes=num_classes, align_corners=align_corners, inplace_abn=inplace_abn)
    container = read_container(path, ema=ema, key=weights_key)
    loaded = _load(container.net, reading, f"checkpoint '{path}'", container=container, path=path)
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
    tensors: Mapping[str, Tensor | NDArray[Any]],
    *,
    variant: str | None = None,
    num_classes: int | None = None,
    align_corners: bool | None = None,
) -> Checkpoint:
    """Load weights that are in memory already.

    Args:
        tensors: a state dict of any supported source: float tensors or arrays by name.
        variant: as for `load_checkpoint`.
        num_classes: as for `load_checkpoint`.
        align_corners: how a segmentation net resizes; None for False.

    Returns:
        The network and what is known about it; the tensors are copied.

    Raises:
        UsageError: no such variant, or an option that does not apply to this net.
        CheckpointError: not an HRNet, or not the variant or number of classes expected.
    """
    given = {name: torch.from_numpy(t) if isinstance(t, np.ndarray) else t for name, t in tensors.items()}
    reading = _Reading(variant=variant, num_classes=num_classes, align_corners=align_corners)
    origin = "state dict"
    return _load(find_net(given, origin), reading, origin)


def _load(
    net: Net, reading: _Reading, origin: str, *, container: Container | None = None, path: Path | None = None
) -> Checkpoint:
    expected = None if reading.variant is None else find_variant(reading.variant)
    dialect = detect(net.tensors)
    state = to_official(net.tensors, dialect, origin)
    found = closest_variant({name: tuple(tensor.shape) for name, tensor in state.items()}, origin)
    if expected is not None and not expected.same_graph(found):
        raise CheckpointError(
            f"{origin} must hold {expected.name} ({expected.task.value}), got {found.name} ({found.task.value}). "
            "Leave the name out to take what the file holds, or give other weights."
        )
    content = container.content if container else None
    found = resolve_corners(found, dialect, origin, asked=reading.align_corners, content=content, path=path)
    classes = class_count({name: tuple(tensor.shape) for name, tensor in state.items()}, found.task)
    if reading.num_classes is not None and classes is not None and classes != reading.num_classes:
        raise CheckpointError(
            f"{origin} must have {reading.num_classes} classes, got {classes}. Correct --num-classes or leave it out."
        )
    network = build_network(found, classes or found.default_num_classes, device="meta")
    state, beside = split_beside(state, network)
    check_names_and_shapes({name: tuple(tensor.shape) for name, tensor in state.items()}, network, found, origin)
    check_dtypes(state, origin)
    if reading.inplace_abn:
        state = with_magnitudes(state)
    _fill(network, state)
    check_values(network, origin)
    _report(net, {**net.ignored, **beside}, origin)
    if not reading.inplace_abn and dialect is OFFICIAL_SEG and not net.counters and (count := negative_scales(state)):
        _LOG.warning(
            "%s: %d scales of its batch norms are negative, and it counts no batches, as files of the PyTorch 0.4.1 "
            "branch do; taken as plain batch norms. If it was trained with InPlaceABN, add --inplace-abn.",
            origin,
            count,
        )
    if container is not None and not container.checksums and (signs := list(signs_of_damage(state))):
        _LOG.warning("%s has no checksums and may be damaged: %s. Compare its digest.", origin, _few(signs))
    return Checkpoint(
        network=network,
        variant=found,
        dialect=dialect.name,
        num_classes=classes or found.default_num_classes,
        preprocessing=dialect.preprocessing,
    )


def _report(net: Net, ignored: Mapping[str, Leaf], origin: str) -> None:
    """Say what was left out."""
    if net.others:
        _LOG.warning(
            "%s holds several HRNets: took '%s', left out %s. Choose with --weights-key.",
            origin,
            net.place,
            " and ".join(f"'{place}'" for place in net.others),
        )
    if ignored:
        hint = " If these normalise images, see --mean and --std." if any(map(_MOMENT.search, ignored)) else ""
        _LOG.warning("%s: ignored %d tensor(s) beside the net: %s.%s", origin, len(ignored), _few(ignored), hint)


def _few(words: Iterable[str]) -> str:
    listed = list(words)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _fill(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Allocate the network and copy the weights in, cast to float32."""
    network.to_empty(device="cpu")
    network.load_state_dict(dict(state), strict=False)
    for name, buffer in network.named_buffers():
        if name.endswith("num_batches_tracked"):  # the only tensors no file has to bring
            buffer.zero_()
