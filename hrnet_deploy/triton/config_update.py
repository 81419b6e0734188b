"""The configuration of a model that gets another version: what users edited stays, what clients rely on must stay."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hrnet_deploy.artifact.card import CARD_KEY, SHA256_KEY, card_from_metadata
from hrnet_deploy.errors import ArtifactError, UsageError, one_line
from hrnet_deploy.limits import JSON_FILE_BYTES
from hrnet_deploy.spec import ModelCard
from hrnet_deploy.system.regular_file import read_regular
from hrnet_deploy.triton.pbtxt import Fields, quote, read_pbtxt, write_pbtxt

_SAME_FIELDS = ("name", "backend", "max_batch_size", "input", "output")
_SAME_ON_CARD: Mapping[str, Callable[[ModelCard], object]] = {
    **{
        name: operator.attrgetter(name)
        for name in ("task", "classes", "preprocessing", "output_kind", "pixels_in", "align_corners", "threshold")
    },
    "colors": operator.attrgetter("palette"),
    "range of batch and size": lambda card: (card.shapes.min_nhw, card.shapes.max_nhw),  # warm-up is within it
}


def read_config(path: Path) -> Fields | None:
    """Read a config.pbtxt.

    Returns:
        Its fields; None where there is no such file.

    Raises:
        ArtifactError: the file is no such text.
    """
    try:
        text = _read_text(path)
    except FileNotFoundError:
        return None
    return read_pbtxt(text, _label(path))


def parameters_of(config: Fields) -> dict[str, str]:
    """Return the text parameters of a configuration by key."""
    found: dict[str, str] = {}
    for entry in config.get("parameters", []):
        if isinstance(entry, dict) and (values := entry.get("value")) and isinstance(values[0], dict):
            for key, text in zip(entry.get("key", []), values[0].get("string_value", []), strict=False):
                found[str(key)] = str(text)
    return found


def updated_config(path: Path, config: Mapping[str, Any], delay_us: int | None) -> str:
    """Put the card and the digest of a new version into a configuration that exists.

    Args:
        path: its file.
        config: the configuration of the new version alone.
        delay_us: as the user requested it; None for what the file has.

    Returns:
        The new text.

    Raises:
        UsageError: the new version differs in what clients rely on, or the file holds another delay.
    """
    text = _read_text(path)
    old, new = (read_pbtxt(each, _label(path)) for each in (text, write_pbtxt(config)))
    for field in _SAME_FIELDS:
        if old.get(field) != new.get(field):
            raise _difference(path, field, *(_shown(field, fields) for fields in (new, old)))
    parameters = parameters_of(old), parameters_of(new)
    ours, other = (card_from_metadata(texts, _label(path)) for texts in parameters)
    for field, value_of in _SAME_ON_CARD.items():
        if value_of(ours) != value_of(other):
            raise _difference(path, field, value_of(other), value_of(ours))
    if delay_us is not None and (found := _delay(old)) != delay_us:
        raise _difference(path, "max_queue_delay_microseconds", delay_us, found)
    for key in (CARD_KEY, SHA256_KEY):
        before, after = (quote(texts.get(key, "")) for texts in parameters)
        if text.count(before) != 1:
            raise _difference(path, f"parameter {key}", "one literal", "another form of it")
        text = text.replace(before, after)
    return text


def _difference(path: Path, field: str, new: object, old: object) -> UsageError:
    return UsageError(
        f"a new version of model '{path.parent.name}' must have the same {field}, got {one_line(new, 80)} beside "
        f"{one_line(old, 80)}. Write it under another name, or remove {path.parent}."
    )


def _shown(field: str, fields: Fields) -> str:
    """Show the values of a field on one line."""
    values = fields.get(field, [])
    return write_pbtxt({field: _single(values)}) if values else "none"


def _single(values: list[Any]) -> Any:
    """Return the values of a field that was read as they can be written, a single one without brackets."""
    plain = [{k: _single(v) for k, v in entry.items()} if isinstance(entry, dict) else entry for entry in values]
    return plain[0] if len(plain) == 1 else plain


def _delay(config: Fields) -> int:
    """Return the delay of dynamic batching; Triton's default is 0."""
    found: list[Any] = [
        delay
        for batching in config.get("dynamic_batching", [])
        if isinstance(batching, dict)
        for delay in batching.get("max_queue_delay_microseconds", [])
    ]
    return found[-1] if found and type(found[-1]) is int else 0


def _read_text(path: Path) -> str:
    """Read a file of UTF-8."""
    try:
        return read_regular(path, "Triton configuration", JSON_FILE_BYTES, ArtifactError).decode()
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{_label(path)} must be UTF-8, got other bytes. Correct it.") from error


def _label(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
