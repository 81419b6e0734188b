"""A network that is ready to run, and all information on it, from a checkpoint."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.limits import CLASSES
from hrnet_deploy.models.checkpoints.align_corners import resolve_corners
from hrnet_deploy.models.checkpoints.architecture import class_count, closest_variant, has_head
from hrnet_deploy.models.checkpoints.class_info import ClassInfo, class_info
from hrnet_deploy.models.checkpoints.container import Container, read_container
from hrnet_deploy.models.checkpoints.dialects import (
    OFFICIAL,
    OFFICIAL_SEG,
    TIMM,
    detect,
    for_task,
    negative_scales,
    to_official,
    with_magnitudes,
)
from hrnet_deploy.models.checkpoints.file_format import few
from hrnet_deploy.models.checkpoints.headless import without_head
from hrnet_deploy.models.checkpoints.timm_config import read_timm_config
from hrnet_deploy.models.checkpoints.unwrap import ModelWeights
from hrnet_deploy.models.checkpoints.weight_match import (
    check_dtypes,
    check_names_and_shapes,
    check_values,
    signs_of_damage,
    split_extras,
)
from hrnet_deploy.models.network import build_headless, build_network
from hrnet_deploy.models.variants import Variant, find_variant
from hrnet_deploy.spec import Preprocessing, Task

_LOG = logging.getLogger(__name__)
_MOMENT = re.compile(r"(^|[._])(mean|std)$")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        network: in evaluation mode, float32, on the CPU; it owns its memory.
        dialect: a `dialects.Dialect.name`.
        classes: from the file, or from timm's config beside it.
    """

    network: nn.Module
    variant: Variant
    dialect: str
    num_classes: int
    preprocessing: Preprocessing
    classes: ClassInfo = field(default_factory=ClassInfo)
    sha256: str = ""


def load_checkpoint(
    path: Path,
    *,
    variant: str | None = None,
    num_classes: int | None = None,
    ema: bool = False,
    weights_key: str | None = None,
    align_corners: bool | None = None,
    inplace_abn: bool = False,
    features: bool = False,
) -> Checkpoint:
    """Load weights of any supported source without executing anything in the file.

    Each assumption and each ignored part is logged in one line.

    Args:
        path: .pth, .pt, .bin, .tar, .safetensors or .pdparams; identified by content.
        variant: the expected variant; None to take the one found.
        num_classes: the expected number of classes; None to take the one found.
        ema: load the averaged copy of a training file instead of its plain weights (mmengine stores the average as
            the plain weights already).
        weights_key: location of the model in the file, such as "model_b" or "state_dict.student"; None to search.
        align_corners: resize mode of a segmentation model; None for that of the file or a yaml beside it, else False.
        inplace_abn: whether its batch norms are InPlaceABN's, which scale by magnitudes.
        features: whether features are wanted; then a model without a head, or with that of another task, loads too,
            as one of `network.HEADLESS` with 0 classes.

    Raises:
        MissingFileError: there is no such file.
        MissingDependencyError: a .safetensors file, and the package is not installed.
        UsageError: no such variant, or an option that does not apply to this model.
        CheckpointError: damaged, no HRNet, or not the expected variant or number of classes.
    """
    path = Path(path)
    if variant is not None:
        find_variant(variant)  # before the file is read
    container = read_container(path, ema=ema, key=weights_key)
    content = container.content
    loaded = load_weights(
        container,
        variant=variant,
        num_classes=num_classes,
        align_corners=align_corners,
        inplace_abn=inplace_abn,
        features=features,
    )
    classes = class_info(content, container.origin)
    if loaded.dialect == OFFICIAL.name:
        config = read_timm_config(path, loaded.variant, loaded.num_classes)
        if config or (isinstance(content, Mapping) and _is_timm(content.get("arch"))):
            preprocessing, names = config or (TIMM.preprocessing, None)
            loaded = replace(loaded, dialect=TIMM.name, preprocessing=preprocessing)
            classes = replace(classes, names=names or classes.names)
    return replace(loaded, classes=classes, sha256=container.sha256)


def _is_timm(architecture: object) -> bool:
    return isinstance(architecture, str) and architecture.startswith("hrnet_")


def load_weights(
    container: Container,
    *,
    variant: str | None = None,
    num_classes: int | None = None,
    align_corners: bool | None = None,
    inplace_abn: bool = False,
    features: bool = False,
) -> Checkpoint:
    """Build the network of the weights and fill it."""
    weights, origin = container.weights, container.origin
    dialect = detect(weights.tensors)
    state = to_official(weights.tensors, dialect, origin)
    headless = without_head(state, dialect, variant, origin) if features and not has_head(_shapes(state)) else None
    if headless is not None:
        state, dialect = headless.tensors, for_task(dialect, headless.task)
    found = _expected_variant(state, variant, origin, None if headless is None else headless.task)
    found = resolve_corners(found, dialect, container, requested=align_corners)
    classes = 0 if headless is not None else class_count(_shapes(state), found.task)
    if num_classes is not None and classes is not None and classes != num_classes:
        raise CheckpointError(
            f"{origin} must have {num_classes} classes, got {classes}. Correct --num-classes or leave it out."
        )
    if classes is not None and classes > CLASSES:
        raise CheckpointError(
            f"{origin} must have at most {CLASSES} classes, got {classes}. Check that it is complete."
        )
    classes = found.default_num_classes if classes is None else classes
    if headless is None:
        network = build_network(found, classes, device="meta")
    else:
        network = build_headless(found, headless.layers, device="meta")
    state, extras = split_extras(state, network)
    check_names_and_shapes(_shapes(state), network, found, origin)
    check_dtypes(state, origin)
    if inplace_abn:
        state = with_magnitudes(state)
    _fill(network, state)
    check_values(network, origin)
    _log_left_out(weights, {**weights.ignored, **extras}, origin)
    if not inplace_abn and dialect is OFFICIAL_SEG and not weights.counts_batches:
        _log_negative_scales(state, origin)
    if not container.checksums and (signs := list(signs_of_damage(state))):
        _LOG.warning("%s has no checksums and may be damaged: %s. Compare its digest.", origin, few(signs))
    return Checkpoint(
        network=network,
        variant=found,
        dialect=dialect.name,
        num_classes=classes,
        preprocessing=dialect.preprocessing,
    )


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _expected_variant(state: Mapping[str, Tensor], name: str | None, origin: str, headless: Task | None) -> Variant:
    """Return the variant of the weights, or of a network without a head; refuse one that differs from the expected."""
    found = closest_variant(_shapes(state), origin, headless)
    expected = found if name is None else find_variant(name)
    if not expected.same_graph(found):
        raise CheckpointError(
            f"{origin} must hold {expected.name} ({expected.task.value}), got {found.name} ({found.task.value}). "
            "Leave the name out to take what the file holds, or give other weights."
        )
    return found


def _log_left_out(weights: ModelWeights, ignored: Iterable[str], origin: str) -> None:
    names = list(ignored)
    if weights.others:
        _LOG.warning(
            "%s holds several HRNets: took '%s', left out %s. Choose with --weights-key.",
            origin,
            weights.place,
            " and ".join(f"'{place}'" for place in weights.others),
        )
    if names:
        hint = " If these normalize images, see --mean and --std." if any(map(_MOMENT.search, names)) else ""
        _LOG.warning("%s: ignored %d tensor(s) beside the model: %s.%s", origin, len(names), few(names), hint)


def _log_negative_scales(state: Mapping[str, Tensor], origin: str) -> None:
    if count := negative_scales(state):
        _LOG.warning(
            "%s: %d scales of its batch norms are negative, and it counts no batches, as files of the PyTorch 0.4.1 "
            "branch do; taken as plain batch norms. If it was trained with InPlaceABN, add --inplace-abn.",
            origin,
            count,
        )


def _fill(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Allocate the network and copy the weights in, cast to float32."""
    network.to_empty(device="cpu")
    network.load_state_dict(dict(state), strict=False)
    for name, buffer in network.named_buffers():
        if name.endswith("num_batches_tracked"):  # the only tensors that a file may lack
            buffer.zero_()
