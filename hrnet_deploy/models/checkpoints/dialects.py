"""Tensor names, layouts, batch norms and preprocessing of each checkpoint source."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.paddle_names import CURRENT, LEGACY, official_name
from hrnet_deploy.spec import Interpolation, Preprocessing, Resize, Rounding, Task

_IMAGENET = Preprocessing()
_IMAGENET_PADDLE = Preprocessing(interpolation=Interpolation.OPENCV_LINEAR, rounding=Rounding.PADDLE)
_CITYSCAPES = Preprocessing(resize=Resize.NONE, size_hw=None, interpolation=Interpolation.OPENCV_LINEAR)
_INPLACE_ABN_EPSILON = 1e-5


@dataclass(frozen=True)
class Dialect:
    """One source of checkpoints.

    Attributes:
        rename: from a stored name to the official one; unknown names stay.
        linear_in_out: whether weights of linear layers are stored (in, out).
    """

    name: str
    rename: Callable[[str], str]
    preprocessing: Preprocessing
    linear_in_out: bool = False


_MMPRETRAIN = {
    r"backbone\.": "",
    r"neck\.(?:0\.)?increase_layers\.": "incre_modules.",
    r"neck\.(?:0\.)?downsample_layers\.(\d)\.conv\.": r"downsamp_modules.\1.0.",
    r"neck\.(?:0\.)?downsample_layers\.(\d)\.bn\.": r"downsamp_modules.\1.1.",
    r"neck\.(?:0\.)?final_layer\.conv\.": "final_layer.0.",
    r"neck\.(?:0\.)?final_layer\.bn\.": "final_layer.1.",
    r"head\.fc\.": "classifier.",
}
_MMSEG = {
    r"backbone\.": "",
    r"decode_head\.convs\.0\.conv\.": "last_layer.0.",
    r"decode_head\.convs\.0\.bn\.": "last_layer.1.",
    r"decode_head\.conv_seg\.": "last_layer.3.",
}


def _by_prefix(key: str, rules: Mapping[str, str]) -> str:
    matches = ((re.match(pattern, key), replacement) for pattern, replacement in rules.items())
    return next((match.expand(text) + key[match.end() :] for match, text in matches if match), key)


OFFICIAL = Dialect("official", str, _IMAGENET)
TIMM = Dialect("timm", str, _IMAGENET)
MMPRETRAIN = Dialect("mmpretrain", functools.partial(_by_prefix, rules=_MMPRETRAIN), _IMAGENET)
PPCLS = Dialect("ppcls", functools.partial(official_name, rules=CURRENT), _IMAGENET_PADDLE, linear_in_out=True)
PPCLS_LEGACY = Dialect(
    "ppcls-legacy", functools.partial(official_name, rules=LEGACY), _IMAGENET_PADDLE, linear_in_out=True
)
OFFICIAL_SEG = Dialect("official-seg", str, _CITYSCAPES)
MMSEG = Dialect("mmseg", functools.partial(_by_prefix, rules=_MMSEG), _CITYSCAPES)


def detect(names: Mapping[str, object]) -> Dialect:
    """Detect the dialect from clean names (`unwrap.find_model`); timm's names are the official ones."""
    heads = {name.partition(".")[0] for name in names}
    if "conv_layer1_1" in heads:
        legacy = any(name.startswith("conv_layer1_1._conv.") for name in names)
        return PPCLS_LEGACY if legacy else PPCLS
    if "backbone" in heads:
        return MMSEG if "decode_head" in heads else MMPRETRAIN
    return OFFICIAL_SEG if "last_layer" in heads else OFFICIAL


def for_task(dialect: Dialect, task: Task) -> Dialect:
    """Return the dialect of the same code family that names the trunk of a model for this task."""
    if task is Task.CLASSIFICATION:
        return dialect
    return {OFFICIAL.name: OFFICIAL_SEG, MMPRETRAIN.name: MMSEG}.get(dialect.name, dialect)


def to_official(tensors: Mapping[str, Tensor], dialect: Dialect, origin: str) -> dict[str, Tensor]:
    """Give every tensor its official name and layout; raises CheckpointError where two tensors get one name."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = dialect.rename(key)
        if name in renamed:
            raise CheckpointError(f"{origin} must hold each tensor once, got '{name}' twice. Save it again.")
        own = tensor.t() if tensor.ndim == 2 and dialect.linear_in_out else tensor
        # Ours are 1x1 convolutions.
        renamed[name] = own[:, :, None, None] if own.ndim == 2 and ".se." in name else own
    return renamed


def _norm_scales(state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the scales of batch norms: 1-D weights with running statistics beside them."""
    return [
        name
        for name in state
        if name.endswith(".weight") and f"{name.removesuffix('weight')}running_var" in state and state[name].ndim == 1
    ]


def with_magnitudes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace every batch-norm scale by |scale| + 1e-5, as InPlaceABN computes it.

    Source: mapillary/inplace_abn v0.1, inplace_abn_cuda.cu, as in HRNet-Semantic-Segmentation's master branch.
    """
    return {**state, **{name: state[name].float().abs() + _INPLACE_ABN_EPSILON for name in _norm_scales(state)}}


def negative_scales(state: Mapping[str, Tensor]) -> int:
    """Count the channels where InPlaceABN and a plain batch norm differ."""
    return sum(int((state[name] < 0).sum()) for name in _norm_scales(state))
