"""Preprocessing from a decoded image to the network input, as the model card records it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Any

from hrnet_deploy.color_scale import Colors, channel_numbers, check_scale
from hrnet_deploy.errors import UsageError
from hrnet_deploy.limits import GRAPH_TENSOR_BYTES, IMAGE_SIDE

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means (RGB, 0..1) of every HRNet dialect. Source: HRNet-Image-Classification, tools/valid.py."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel standard deviations (RGB, 0..1). Source: as IMAGENET_MEAN."""

_MIN_STD = 1e-6
_INPUT_BYTES_PER_PX = 12


class Resize(str, enum.Enum):
    """Way from an image to the network's size."""

    SHORT_SIDE = "short-side"
    """Short side to size / crop_pct, then a center crop (ImageNet evaluation)."""
    SQUASH = "squash"
    """Both sides to the network's size; the aspect ratio changes."""
    LONG_SIDE = "long-side"
    """Long side to `max(size_hw)`, aspect ratio kept, no crop."""
    NONE = "none"
    """The image as it is."""


class Interpolation(str, enum.Enum):
    """Resampling filter."""

    BILINEAR = "bilinear"
    """Triangle filter widened when reducing (antialias), as Pillow and torchvision do."""
    BICUBIC = "bicubic"
    """Cubic filter (a = -0.5) widened when reducing, as Pillow does."""
    OPENCV_LINEAR = "opencv-linear"
    """cv2.INTER_LINEAR: two taps at any scale, no antialias."""


class Rounding(str, enum.Enum):
    """Rounding of the long side and the crop offset in a dialect."""

    TORCHVISION = "torchvision"
    """Long side int(), crop offset int(round()). Source: torchvision.transforms.functional."""
    PADDLE = "paddle"
    """Long side int(round()), crop offset //2. Source: ppcls/data/preprocess/ops/operators.py."""


class ChannelOrder(str, enum.Enum):
    """Order of the color channels at the network's input, or at a pixels-in graph's."""

    RGB = "rgb"
    BGR = "bgr"
    GRAY = "gray"
    """One channel: 0.299 R + 0.587 G + 0.114 B. Source: ITU-R BT.601."""
    RGBA = "rgba"

    @property
    def channels(self) -> int:
        """Number of channels."""
        return {ChannelOrder.GRAY: 1, ChannelOrder.RGBA: 4}.get(self, 3)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From a decoded image to the network input.

    Attributes:
        size_hw: network input (height, width) in pixels; None for the image's own size (resize "none" only).
        crop_pct: size / short side before the center crop, in (0, 1]; used by "short-side" only.
        mean: per channel, on a 0..1 scale, in the network's channel order.
        std: per channel, on a 0..1 scale, in the network's channel order.
    """

    resize: Resize = Resize.SHORT_SIDE
    size_hw: tuple[int, int] | None = (224, 224)
    crop_pct: float = 0.875
    interpolation: Interpolation = Interpolation.BILINEAR
    rounding: Rounding = Rounding.TORCHVISION
    mean: Colors = IMAGENET_MEAN
    std: Colors = IMAGENET_STD
    channel_order: ChannelOrder = ChannelOrder.RGB

    def __post_init__(self) -> None:
        normalize_enums(self, resize=Resize, interpolation=Interpolation, rounding=Rounding, channel_order=ChannelOrder)
        if self.size_hw is None:
            if self.resize is not Resize.NONE:
                raise UsageError(f"resize '{self.resize.value}' needs a size (height, width), got none. Give --imgsz.")
        else:
            object.__setattr__(self, "size_hw", positive_ints("image size", self.size_hw, 2))
            _check_area(self.size_hw)
        if not 0 < self.crop_pct <= 1:
            raise UsageError(f"crop fraction must be in (0, 1], got {self.crop_pct}. ImageNet models use 0.875.")
        if self.size_hw is not None and max(self.size_hw) / self.crop_pct > IMAGE_SIDE:
            raise UsageError(
                f"crop fraction must leave images of at most {IMAGE_SIDE} pixels a side, got {self.crop_pct} for "
                f"{self.size_hw}. ImageNet models use 0.875."
            )
        for name in ("mean", "std"):
            object.__setattr__(self, name, channel_numbers(name, getattr(self, name), self.channel_order.channels))
        check_scale(self.mean, self.std)
        if min(self.std) < _MIN_STD:
            raise UsageError(f"std must be at least {_MIN_STD:g}, got {self.std}. Give one a channel on a 0..1 scale.")

    def for_channels(self, count: int) -> Preprocessing:
        """Return the same for images of 1, 3 or 4 channels; a missing mean or std is the average of the others."""
        if count == self.channel_order.channels:
            return self
        order = {1: ChannelOrder.GRAY, 4: ChannelOrder.RGBA}[count]
        mean, std = (_extended(values, count) for values in (self.mean, self.std))
        return replace(self, channel_order=order, mean=mean, std=std)


def _extended(values: Colors, count: int) -> Colors:
    average = round(sum(values) / len(values), 6)
    return (average,) if count == 1 else (*values, average)


def normalize_enums(record: Any, **kinds: type[enum.Enum]) -> None:
    """Convert plain strings, from JSON or a user, to the enum of each field; UsageError for others."""
    for name, kind in kinds.items():
        value = getattr(record, name)
        try:
            object.__setattr__(record, name, kind(value))
        except ValueError as error:
            allowed = ", ".join(member.value for member in kind)
            raise UsageError(f"{name} must be one of {allowed}, got '{value!s:.80}'. Choose one.") from error


def positive_ints(what: str, values: Any, count: int) -> tuple[Any, ...]:
    """Check a tuple of `count` sizes; UsageError, which calls them `what`, for others."""
    checked = tuple(values)
    if len(checked) != count or not all(type(v) is int and 0 < v <= IMAGE_SIDE for v in checked):
        raise UsageError(f"{what} must be {count} integers from 1 to {IMAGE_SIDE}, got {values!s:.80}. Correct it.")
    return checked


def _check_area(size_hw: tuple[int, int]) -> None:
    """Refuse a size whose input takes more memory than a tensor may."""
    if size_hw[0] * size_hw[1] * _INPUT_BYTES_PER_PX > GRAPH_TENSOR_BYTES:
        raise UsageError(
            f"image size must take at most {GRAPH_TENSOR_BYTES >> 20} MiB as an input, got {size_hw}. Choose a smaller "
            "one."
        )
