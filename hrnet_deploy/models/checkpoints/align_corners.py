"""The align_corners mode of a segmentation model, which its tensors do not determine."""

from __future__ import annotations

import itertools
import logging
import re
from dataclasses import replace
from pathlib import Path

from hrnet_deploy.errors import HrnetDeployError, UsageError
from hrnet_deploy.limits import TEXT_FILE_BYTES
from hrnet_deploy.models.checkpoints.container import Container
from hrnet_deploy.models.checkpoints.dialects import MMSEG, OFFICIAL_SEG, Dialect
from hrnet_deploy.models.checkpoints.nested_tensors import values_named
from hrnet_deploy.models.variants import Variant
from hrnet_deploy.spec import Task
from hrnet_deploy.system.regular_file import read_regular

_LOG = logging.getLogger(__name__)
_SUFFIXES = ("*.yaml", "*.yml")
_MODEL = re.compile(r"MODEL\s*:[ \t]*(?:#.*)?")
_INSIDE = re.compile(r"[ \t]|#|$")
_FIELD = re.compile(r"[ \t]+ALIGN_CORNERS\s*:[ \t]*['\"]?(true|false|yes|no|on|off)\b", re.IGNORECASE)
_OCR_BRANCH = re.compile(r"[ \t]+(?:NUM_OUTPUTS|OCR)\s*:")
"""Fields that only the HRNet-OCR branch knows; the configuration of others refuses unknown ones."""
_MMSEG_FIELD = re.compile(r"align_corners\s*=\s*(True|False)")


_Statement = tuple[bool, str]
"""A value of align_corners and its source."""


def resolve_corners(variant: Variant, dialect: Dialect, container: Container, *, requested: bool | None) -> Variant:
    """Add align_corners to a variant: from the user, the file, a yaml beside it, or a logged assumption."""
    if variant.task is not Task.SEGMENTATION:
        if requested is not None:
            raise UsageError(f"--align-corners is for segmentation models, got {variant.name}. Leave it out.")
        return variant
    value, origin = requested, container.origin
    if value is None:
        on_disk = container.path if dialect is OFFICIAL_SEG else None
        stated = _stated_by_file(container.content, mmseg=dialect is MMSEG)
        stated = stated or (_stated_by_yaml(on_disk) if on_disk else None)
        if stated:
            value, source = stated
            _LOG.info("%s: align_corners is %s, says %s", origin, value, source)
        elif on_disk:
            _LOG.warning(
                "%s does not say which branch trained it: taken as pytorch-v1.1 (align_corners False). If it was the "
                "default branch, HRNet-OCR, add --align-corners; --no-align-corners if not.",
                origin,
            )
    return replace(variant, align_corners=bool(value), align_corners_fuse=bool(value) and dialect is not MMSEG)


def _stated_by_yaml(weights_path: Path) -> _Statement | None:
    """Read `MODEL.ALIGN_CORNERS` of the weights' own yaml, else of all beside them; None where two differ."""
    # Source: HRNet-Semantic-Segmentation, lib/config/default.py of the branches HRNet-OCR (True) and pytorch-v1.1.
    files = sorted(path for suffix in _SUFFIXES for path in weights_path.parent.glob(suffix) if path.is_file())
    named = [path for path in files if weights_path.name.startswith(f"{path.stem}.")]
    found = [statement for path in named or files if (statement := _of_yaml(path)) is not None]
    return found[0] if len({value for value, _ in found}) == 1 else None


def _stated_by_file(content: object, *, mmseg: bool) -> _Statement | None:
    """Read the configuration that training code stored with the weights; mmsegmentation's is a text."""
    if mmseg:
        texts = [text for key in ("cfg", "config") for text in values_named(content, key) if isinstance(text, str)]
        values = {word == "True" for text in texts for word in _MMSEG_FIELD.findall(text)}
    else:
        values = {value for value in values_named(content, "ALIGN_CORNERS") if isinstance(value, bool)}
    return (values.pop(), "the configuration in the file") if len(values) == 1 else None


def _of_yaml(path: Path) -> _Statement | None:
    try:
        content = read_regular(path, "configuration", TEXT_FILE_BYTES)
    except HrnetDeployError:
        return None
    block = _model_block(content.decode("utf-8", "replace"))
    value = next(filter(None, map(_FIELD.match, block)), None)
    if value is not None:
        return value[1].lower() in {"true", "yes", "on"}, f"MODEL.ALIGN_CORNERS in {path.name}"
    if any(map(_OCR_BRANCH.match, block)):
        return True, f"{path.name}, which is of the branch HRNet-OCR, whose default it is"
    return None


def _model_block(text: str) -> list[str]:
    """Return the indented lines below `MODEL:`."""
    lines = iter(text.splitlines())
    if not any(map(_MODEL.fullmatch, lines)):
        return []
    return list(itertools.takewhile(_INSIDE.match, lines))
