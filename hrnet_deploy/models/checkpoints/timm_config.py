"""timm's config.json beside the weights it publishes: their preprocessing and their class names."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hrnet_deploy.errors import CheckpointError, HrnetDeployError, one_line
from hrnet_deploy.imaging.class_list import names_in
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import TEXT_FILE_BYTES
from hrnet_deploy.models.variants import Variant, find_variant
from hrnet_deploy.models.weights import CONFIG_SUFFIX
from hrnet_deploy.spec import Interpolation, Preprocessing, Resize
from hrnet_deploy.system.regular_file import read_regular

_LOG = logging.getLogger(__name__)
_PUBLISHED_NAMES = frozenset({"model.safetensors", "pytorch_model.bin"})
_REASON_LENGTH = 300
_CROP_MODES = {"center": Resize.SHORT_SIDE, "squash": Resize.SQUASH}
_INTERPOLATIONS = {"bilinear": Interpolation.BILINEAR, "bicubic": Interpolation.BICUBIC}
_AVERAGES = frozenset({"avg", "fast", "fastavg"})
"""timm's names of global average pooling. Source: timm, layers/adaptive_avgmax_pool.py."""
_WNID = re.compile(r"n\d{8}")
_OWN_LAYERS = {"first_conv": "conv1", "classifier": "classifier"}


TimmConfig = tuple[Preprocessing, "tuple[str, ...] | None"]
"""The content of a config: preprocessing of the evaluation, and class names by index, or None."""


def read_timm_config(weights_path: Path, variant: Variant, num_classes: int) -> TimmConfig | None:
    """Read timm's "config.json" beside the weights, or the one fetched with them from their URL; None without one.

    CheckpointError: a damaged one, one of another model, or one with options that this package does not support.

    Source: timm, timm/models/_hub.py, save_config_for_hf and load_model_config_from_hf.
    """
    fetched = weights_path.with_name(weights_path.name + CONFIG_SUFFIX)
    path = fetched if fetched.is_file() else weights_path.with_name("config.json")
    if not path.is_file():
        return None
    try:
        content = parse_json(read_regular(path, "timm's config", TEXT_FILE_BYTES))
    except (ValueError, OSError) as error:  # HrnetDeployErrors of reading are one of these
        if weights_path.name in _PUBLISHED_NAMES:
            raise _unusable(path, error) from error
        _LOG.warning("%s is not read: it is no JSON", path)
        return None
    try:
        if not isinstance(content, dict) and weights_path.name in _PUBLISHED_NAMES:
            raise TypeError("no table of names and values")
        own = _timms(content) if isinstance(content, dict) else None
        if own is None:
            return None
        _check_model(own, variant, num_classes)
        return _preprocessing(own), _classes(own, num_classes, path)
    except (ValueError, TypeError, KeyError, AttributeError, HrnetDeployError) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"timm's config '{path}' must state the preprocessing of these weights, got one that cannot be used "
        f"({one_line(error, _REASON_LENGTH) or type(error).__name__}). Correct it or move it away."
    )


def _timms(content: dict[str, Any]) -> dict[str, Any] | None:
    """Flatten a config; the outer level wins. None for a config of something else."""
    inner = content.get("pretrained_cfg")
    if inner is None and not f"{content.get('architecture', '')!s:.80}".startswith("hrnet_"):
        return None
    outer = {key: value for key, value in content.items() if key != "pretrained_cfg" and value is not None}
    arguments = content.get("model_args") or {}
    own: dict[str, Any] = {**(inner or {}), **outer, **{k: v for k, v in arguments.items() if k == "global_pool"}}
    return own


def _check_model(config: Mapping[str, Any], variant: Variant, num_classes: int) -> None:
    """Refuse contradictions to the tensors, and options that the tensors cannot show."""
    name = config.get("architecture")
    if name is not None and not find_variant(f"{name!s:.80}").same_graph(variant):
        raise ValueError(f"architecture '{name!s:.80}', while the weights are of {variant.name}")
    pool = config.get("global_pool", "avg")
    if num_classes and pool not in _AVERAGES:  # without a head, `global_pool` is "" where timm returns the map
        raise ValueError(f"global_pool '{pool!s:.80}', while only avg is supported")
    for key, layer in _OWN_LAYERS.items():
        if config.get(key, layer) != layer:
            raise ValueError(f"{key} '{config[key]!s:.80}', while that of HRNet is {layer}")
    channels = config.get("input_size", (3, 224, 224))[0]
    if channels != variant.in_channels:
        raise ValueError(f"input_size with {channels!s:.80} channels, while the weights take {variant.in_channels}")


def _preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    default = Preprocessing()
    _, height, width = config.get("input_size", (3, 224, 224))
    return Preprocessing(
        resize=_choose("crop_mode", config, "center", _CROP_MODES),
        size_hw=(height, width),
        crop_pct=float(config.get("crop_pct", default.crop_pct)),
        interpolation=_choose("interpolation", config, "bilinear", _INTERPOLATIONS),
        mean=_colors(config.get("mean", default.mean)),
        std=_colors(config.get("std", default.std)),
    )


def _colors(values: Sequence[float]) -> tuple[float, ...]:
    """Return a number for each of three colors; timm repeats a single one."""
    return tuple(values) * 3 if len(values) == 1 else tuple(values)


def _classes(config: Mapping[str, Any], num_classes: int, path: Path) -> tuple[str, ...] | None:
    """Return names by index; descriptions where the names are WordNet ids."""
    stated = config.get("num_classes")
    if stated is not None and stated != num_classes:
        _LOG.warning(
            "%s is of %.20s classes, while the weights have %d: its class names are not used", path, stated, num_classes
        )
        return None
    labels = config.get("label_names") or config.get("labels")
    if labels is None:
        return None
    names = names_in(labels, f"label_names of '{path}'")
    texts = config.get("label_descriptions")
    if isinstance(texts, Mapping) and all(_WNID.fullmatch(name) and isinstance(texts.get(name), str) for name in names):
        return names_in([texts[name] for name in names], f"label_descriptions of '{path}'")
    return names


def _choose(name: str, config: Mapping[str, Any], default: str, known: dict[str, Any]) -> Any:
    value = config.get(name, default)
    if value not in known:
        raise ValueError(f"{name} '{value!s:.80}' is none of {', '.join(known)}")
    return known[value]
