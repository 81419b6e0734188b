"""The form of a prediction that a client requests by its query and its Accept header."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.results import ClassificationResult, Result, SegmentationResult
from hrnet_deploy.serving.http_error import HttpError
from hrnet_deploy.spec import ModelCard, Task

JSON, PNG, JPEG = "application/json", "image/png", "image/jpeg"
DEFAULT_TOPK = 5

_FLAGS = {"1": True, "true": True, "0": False, "false": False}
_FLAG_NAMES = ("mask", "overlay", "legend")


@dataclass(frozen=True)
class ResponseFormat:
    """What is written of a result.

    Attributes:
        media_type: JSON; PNG for the class ids of a mask; JPEG for an overlay.
        topk: best classes of a classifier.
        mask: add the mask to JSON, as PNG in base64.
        overlay: add the overlay to JSON, as JPEG in base64.
        legend: draw a panel with names below the overlay, which makes it higher.
    """

    media_type: str = JSON
    topk: int = DEFAULT_TOPK
    mask: bool = False
    overlay: bool = False
    legend: bool = False

    @property
    def keeps_image(self) -> bool:
        """Whether the pixels of the image are needed."""
        return self.overlay or self.media_type == JPEG

    def write(self, result: Result) -> bytes:
        """Encode a result; for JSON, an object without white space."""
        if self.media_type == PNG:
            return _encoded(".png", result.mask)
        if self.media_type == JPEG:
            return _encoded(".jpg", result.overlay(legend=self.legend))
        record = result.to_dict()
        if isinstance(result, ClassificationResult):
            record["topk"] = result.topk_records(self.topk)
        if self.mask and isinstance(result, SegmentationResult):
            record["mask"] = base64.b64encode(_encoded(".png", result.mask)).decode()
        if self.overlay:
            record["overlay"] = base64.b64encode(_encoded(".jpg", result.overlay(legend=self.legend))).decode()
        return compact_json(record)


def read_format(query: Iterable[tuple[str, str]], accept: str, card: ModelCard) -> ResponseFormat:
    """Read the requested form.

    Args:
        query: parameters of the URL.
        accept: the Accept header; "" for none.
        card: the model's card.

    Returns:
        The form.

    Raises:
        HttpError: 400 for an unknown or unusable parameter, or one that this model has no use for.
    """
    values: dict[str, Any] = {}
    for name, text in query:
        if name in values:
            raise HttpError(400, f"parameter '{name:.40}' must be given once, got it twice. Leave one out.")
        values[name] = _value(name, text, card)
    media_type = _preferred(accept)
    if card.task is Task.CLASSIFICATION and (media_type == PNG or "mask" in values):
        raise HttpError(400, "a mask needs a model that segments, got a classifier. Accept application/json.")
    if media_type != JSON and ("mask" in values or "overlay" in values or "topk" in values):
        raise HttpError(400, f"mask, overlay and topk are parts of JSON, got Accept {media_type}. Leave one out.")
    if "legend" in values and media_type != JPEG and not values.get("overlay"):
        raise HttpError(400, "a legend needs an overlay, got none. Add overlay=1, or accept image/jpeg.")
    return ResponseFormat(media_type, **values)


def compact_json(value: Any) -> bytes:
    """Write JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _value(name: str, text: str, card: ModelCard) -> Any:
    """Read one parameter."""
    if name in _FLAG_NAMES:
        if text not in _FLAGS:
            raise HttpError(400, f"parameter '{name}' must be 1 or 0, got '{text:.40}'. Correct it.")
        return _FLAGS[text]
    if name != "topk":
        known = ", ".join(("topk", *_FLAG_NAMES))
        raise HttpError(400, f"parameter must be one of {known}, got '{name:.40}'. Leave it out.")
    if card.task is not Task.CLASSIFICATION:
        raise HttpError(400, "topk applies to classification only, got a model that segments. Leave it out.")
    most = len(card.classes)
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= most):
        raise HttpError(400, f"topk must be a number from 1 to {most}, got '{text:.40}'. The default is 5.")
    return int(text)


def _preferred(accept: str) -> str:
    """Choose the media type with the largest weight, the first of equals; JSON where none is possible."""
    best, weight = JSON, 0.0
    for entry in accept.lower().split(",")[:32]:
        kind, *options = (part.strip() for part in entry.split(";"))
        media_type = {"*/*": JSON, "application/*": JSON, "image/*": JPEG}.get(kind, kind)
        own = _weight(options)
        if media_type in {JSON, PNG, JPEG} and own > weight:
            best, weight = media_type, own
    return best


def _weight(options: list[str]) -> float:
    """Read q of an entry. Source: RFC 9110 12.4.2."""
    for option in options:
        if option.startswith("q="):
            try:
                return min(1.0, float(option[2:]))
            except ValueError:
                return 0.0
    return 1.0


def _encoded(suffix: str, image: NDArray[np.uint8]) -> bytes:
    """Encode an image; JPEG has a limit of size, which no decoded image of most formats exceeds."""
    fits, content = _imencode(suffix, image)
    if not fits:
        height, width = image.shape[:2]
        raise HttpError(400, f"image must fit {suffix}, got {height}x{width}. Send a smaller one.")
    return content


def _imencode(suffix: str, image: NDArray[np.uint8]) -> tuple[bool, bytes]:
    try:
        fits, encoded = cv2.imencode(suffix, image)
    except cv2.error:
        return False, b""
    return fits, encoded.tobytes() if fits else b""
