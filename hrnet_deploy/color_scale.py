"""Checks of the mean and standard deviation of colors: a number for each channel on a 0..1 scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hrnet_deploy.errors import UsageError

Colors = tuple[float, ...]
"""One number for each of 1, 3 or 4 channels."""

_COUNTS = (1, 3, 4)
_LEVELS = 255.0
"""Largest value of a channel in the configs of mmpretrain, mmsegmentation, mmdeploy and Caffe."""


def channel_numbers(name: str, values: Any, count: int | None = None) -> Colors:
    """Convert values of a user or a file to finite floats, one a channel; UsageError, which calls them `name`, else.

    There must be `count` of them, or, if that is None, as many as images may have channels.
    """
    try:
        numbers = () if isinstance(values, (str, bytes)) else tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) not in (_COUNTS if count is None else (count,)) or not all(map(math.isfinite, numbers)):
        words = "three finite numbers" if count in {None, 3} else f"{count} finite number(s)"
        raise UsageError(f"{name} must be {words} (0..1 scale), got {values!r:.80}. Give one a channel.")
    return numbers


def check_scale(mean: Colors, std: Colors) -> None:
    """Refuse a mean or std that images on a 0..1 scale cannot have, with the converted values."""
    if min(std) <= 0:
        raise UsageError(f"std must be positive, got {_written(std)}. Give one a channel on a 0..1 scale.")
    if min(mean) < 0:
        raise UsageError(f"mean must not be negative, got {_written(mean)}. Give one a channel on a 0..1 scale.")
    wrong = {name: values for name, values in (("mean", mean), ("std", std)) if max(values) > 1}
    if not wrong:
        return
    # Models of Caffe do not divide: a std of 1 beside a mean of 123 is 1 of 255 levels.
    if "mean" in wrong and set(std) == {1.0}:
        wrong["std"] = std
    got = " and ".join(f"{name} {_written(values)}" for name, values in wrong.items())
    raise UsageError(f"mean and std must be on a 0..1 scale, got {got}. {_advice(wrong)}")


def _advice(wrong: dict[str, Colors]) -> str:
    if any(max(values) > _LEVELS for values in wrong.values()):
        return "Divide them by the largest value of a channel."
    if any(min(values) <= 1 < max(values) for values in wrong.values()):
        return "These are of two scales: divide by 255 those that are counted in levels."
    divided = " ".join(f"--{name} {_written([v / _LEVELS for v in values])}" for name, values in wrong.items())
    return f"Those look like levels of 0..255; divided by 255: {divided}"


def _written(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
