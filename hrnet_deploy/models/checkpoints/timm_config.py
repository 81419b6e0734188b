"""timm's config.json, which lies beside the weights it publishes and refines their preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hrnet_deploy.errors import CheckpointError, HrnetDeployError
from hrnet_deploy.spec import Interpolation, Preprocessing, Resize

_WEIGHT_NAMES = frozenset({"model.safetensors", "pytorch_model.bin"})
_LIMIT_BYTES = 1 << 20
_CROP_MODES = {"center": Resize.SHORT_SIDE, "squash": Resize.SQUASH}
_INTERPOLATIONS = {"bilinear": Interpolation.BILINEAR, "bicubic": Interpolation.BICUBIC}


def read_timm_config(weights_path: Path) -> Preprocessing | None:
    """Read the preprocessing that belongs to weights as timm publishes them.

    Args:
        weights_path: the weights; only beside "model.safetensors" and "pytorch_model.bin" a config is looked for.

    Returns:
        The preprocessing, or None where there is no config or not one of timm's. Paths and addresses in it are not
        followed.

    Raises:
        CheckpointError: it is damaged, or asks for what this package cannot do.

    Source: timm, timm/models/_hub.py, save_config_for_hf.
    """
    path = weights_path.with_name("config.json")
    if weights_path.name not in _WEIGHT_NAMES or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LIMIT_BYTES))
        config = content.get("pretrained_cfg")
        return _preprocessing(config) if isinstance(config, dict) else None
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError, HrnetDeployError) as error:
        raise CheckpointError(
            f"timm's config '{path}' must state the preprocessing, got one that cannot be used "
            f"({str(error) or type(error).__name__}). Correct it or move it away."
        ) from error


def _preprocessing(config: dict[str, Any]) -> Preprocessing:
    default = Preprocessing()
    _, height, width = config.get("input_size", (3, 224, 224))
    return Preprocessing(
        resize=_choose("crop_mode", config, "center", _CROP_MODES),
        size_hw=(height, width),
        crop_pct=float(config.get("crop_pct", default.crop_pct)),
        interpolation=_choose("interpolation", config, "bilinear", _INTERPOLATIONS),
        mean=tuple(config.get("mean", default.mean)),
        std=tuple(config.get("std", default.std)),
    )


def _choose(name: str, config: dict[str, Any], default: str, known: dict[str, Any]) -> Any:
    value = config.get(name, default)
    if value not in known:
        raise ValueError(f"{name} '{value}' is none of {', '.join(known)}")
    return known[value]
