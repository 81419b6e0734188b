"""The trunk of a checkpoint without a head of ours: which of its layers are there, and what is left out."""

from __future__ import annotations

import collections
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from hrnet_deploy.models.checkpoints.architecture import check_stages, is_segmentation, other_model
from hrnet_deploy.models.checkpoints.dialects import MMSEG, Dialect
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.spec import Task

_LOG = logging.getLogger(__name__)
_TRUNK = r"(?:conv[12]|bn[12]|layer1|transition[123]|stage[234])\."
_LAYERS = {
    "trunk": re.compile(_TRUNK),
    "wide": re.compile(rf"{_TRUNK}|incre_modules\."),
    "pooled": re.compile(rf"{_TRUNK}|incre_modules\.|downsamp_modules\.|final_layer\.[01]\."),
}
_SHOWN = 4


@dataclass(frozen=True)
class HeadlessWeights:
    """Weights of a network without scores.

    Attributes:
        tensors: by official name.
        layers: a key of `network.HEADLESS`.
        task: task of the models whose trunk resizes as this one does.
    """

    tensors: dict[str, Tensor]
    layers: str
    task: Task


def without_head(state: Mapping[str, Tensor], dialect: Dialect, variant: str | None, origin: str) -> HeadlessWeights:
    """Take the layers up to the last one that gives features; log in one line what is left out or assumed."""
    check_stages({name: tuple(tensor.shape) for name, tensor in state.items()}, origin)
    roots = {name.partition(".")[0] for name in state}
    layers = "trunk"
    if "incre_modules" in roots:
        layers = "pooled" if "downsamp_modules" in roots else "wide"
    tensors = {name: tensor for name, tensor in state.items() if _LAYERS[layers].match(name)}
    left = collections.Counter(name.partition(".")[0] for name in state if name not in tensors)
    other = other_model(state)
    if left:
        parts = ", ".join(f"'{root}' ({count})" for root, count in left.most_common(_SHOWN))
        kind = "" if other is None else f" of {other[0]}"
        _LOG.warning("%s: took the trunk%s for features, left out %s", origin, kind, parts)
    if variant is not None:
        return HeadlessWeights(tensors, layers, find_variant(variant).task)
    if layers == "trunk" and (dialect is MMSEG or is_segmentation(state)):
        return HeadlessWeights(tensors, layers, Task.SEGMENTATION)
    if layers == "trunk" and other is None:
        _LOG.warning(
            "%s: a trunk alone does not show how it resizes: taken as nearest, as in classifiers and detectors. "
            "If it belongs to a segmentation model, name it, such as hrnetv2_w48.",
            origin,
        )
    return HeadlessWeights(tensors, layers, Task.CLASSIFICATION)
