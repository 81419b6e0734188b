"""Class information in a training file: names, colors, and the threshold between two classes."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hrnet_deploy.errors import UsageError, one_line
from hrnet_deploy.imaging.class_list import names_in
from hrnet_deploy.limits import CLASSES, TEXT_FILE_BYTES

_LOG = logging.getLogger(__name__)
_LEVELS = range(256)
_CLASSES = ("CLASSES", "classes", "class_names", "class_to_idx", "idx_to_class", "id2label", "label_names")
_PALETTE = ("PALETTE", "palette")
_HEAD = re.compile(r"""['"]?\bdecode_head\b['"]?\s*[=:]\s*(?:dict\(|\{)""")
_THRESHOLD = re.compile(r"""\bthreshold\b['"]?\s*[=:]\s*([0-9.eE+-]+)""")
_LONGEST_NUMBER = 32

Palette = tuple[tuple[int, int, int], ...]
"""Class colors, RGB 0..255."""


@dataclass(frozen=True)
class ClassInfo:
    """Usable class information in a file; the threshold is that of a segmentation model with one output channel."""

    names: tuple[str, ...] | None = None
    palette: Palette | None = None
    threshold: float | None = None


def class_info(content: object, origin: str) -> ClassInfo:
    """Read the class information beside the weights; unusable names and colors are left out and logged."""
    if not isinstance(content, Mapping):
        return ClassInfo()
    meta = _mapping(content.get("meta"))
    places = (_mapping(meta.get("dataset_meta")), meta, content)
    names = next((place[key] for place in places for key in _CLASSES if _holds_names(place.get(key))), None)
    colors = next((place[key] for place in places for key in _PALETTE if _filled(place.get(key))), None)
    return ClassInfo(
        names=None if names is None else _names(names, origin),
        palette=None if colors is None else _palette(colors, origin),
        threshold=_threshold(meta.get("cfg") or meta.get("config")),
    )


def _mapping(value: object) -> Mapping[object, object]:
    return value if isinstance(value, Mapping) else {}


def _filled(value: object) -> bool:
    return isinstance(value, (Mapping, list, tuple)) and len(value) > 0


def _holds_names(value: object) -> bool:
    """Whether a value may hold names; a state dict may also have an entry called "classes"."""
    if not _filled(value) or len(value) > CLASSES:  # type: ignore[arg-type]
        return False
    items = [*value.keys(), *value.values()] if isinstance(value, Mapping) else list(value)  # type: ignore[call-overload]
    return all(type(item) in {str, int} for item in items)


def _names(value: object, origin: str) -> tuple[str, ...] | None:
    try:
        return names_in(value, f"the class list in {origin}")
    except UsageError as error:
        _LOG.warning("class names: those in the file are not used: %s", one_line(error))
        return None


def _palette(value: object, origin: str) -> Palette | None:
    rows = value if isinstance(value, (list, tuple)) else ()
    if len(rows) > CLASSES or not all(map(_is_color, rows)):
        _LOG.warning("palette: the one in %s is not used: it must hold red, green and blue from 0 to 255", origin)
        return None
    return tuple((red, green, blue) for red, green, blue in rows) or None


def _is_color(row: object) -> bool:
    return (
        isinstance(row, (list, tuple)) and len(row) == 3 and all(type(part) is int and part in _LEVELS for part in row)
    )


def _threshold(config: object) -> float | None:
    """Read the decode head's own threshold from the text of mmsegmentation's configuration."""
    if not isinstance(config, str) or len(config) > TEXT_FILE_BYTES:
        return None
    match = _HEAD.search(config)
    found = _THRESHOLD.search(_own_level(config[match.end() :])) if match else None
    try:
        value = float(found[1][:_LONGEST_NUMBER]) if found else None
    except ValueError:
        return None
    return value if value is not None and 0 < value < 1 else None


def _own_level(text: str) -> str:
    """Return the text before the bracket that closes its own level, without the content of inner brackets."""
    depth, kept = 0, []
    for part in re.split(r"([()\[\]{}])", text):
        if part and part in ")]}":
            depth -= 1
        elif part and part in "([{":
            depth += 1
        elif depth == 0:
            kept.append(part)
        if depth < 0:
            break
    return "".join(kept)
