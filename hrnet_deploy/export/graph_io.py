"""Input and output of an artifact: shapes, preprocessing, pixel order, output kind and class names."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from hrnet_deploy.artifact.known_classes import pack_classes
from hrnet_deploy.color_scale import check_scale
from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.source import RANDOM, ModelInfo
from hrnet_deploy.imaging.class_names import default_classes, read_classes
from hrnet_deploy.integrity.inspect import inspect
from hrnet_deploy.limits import BATCH, IMAGE_SIDE
from hrnet_deploy.spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ChannelOrder,
    OutputKind,
    Preprocessing,
    Resize,
    ShapeRange,
    Task,
    check_threshold,
)

HeightWidth = tuple[int, int]

_LOG = logging.getLogger(__name__)
_CODE_BASES = ("official", "timm", "mmpretrain", "paddle")
_TWO = {Task.CLASSIFICATION: ("negative", "positive"), Task.SEGMENTATION: ("background", "foreground")}
"""Default names of the two classes of a model with one output channel."""
_WHOSE = {"imagenet": "ImageNet", "cityscapes": "Cityscapes"}
_NUMBER = re.compile(r"\d{1,9}")
_STRIDE_PX = 32
_MIN_PX = 32
_DEFAULT_BATCH: tuple[int, ...] = (1, 1, 16)
_DYNAMIC_MIN_HW = (64, 64)
_DYNAMIC_MAX_HW = (2048, 4096)


def check_modes(options: ExportOptions) -> None:
    """Refuse values that suit no model."""
    resolve_pixel_order(options.pixels_in)
    # A mean or a standard deviation on another scale than 0..1 is refused here.
    mean, std = options.mean or IMAGENET_MEAN, options.std or IMAGENET_STD
    check_scale(tuple(mean), tuple(std))
    if options.labels_out not in {False, True, "topk", "softmax"}:
        raise UsageError(f"labels-out must be 'topk' or 'softmax', got '{options.labels_out}'. Choose one.")
    shape_range(options.imgsz, options.batch, (224, 224))
    if options.threshold is not None:
        check_threshold(options.threshold)
    if isinstance(options.classes, str | Path):
        read_classes(options.classes)


def resolve_shapes(options: ExportOptions, info: ModelInfo) -> ShapeRange:
    """Return batch, height and width of the input."""
    shapes = shape_range(options.imgsz, options.batch, info.native_hw)
    if info.fixed_batch is not None:
        if options.batch is not None and (shapes.dynamic_batch or shapes.opt_nhw[0] != info.fixed_batch):
            raise UsageError(
                f"the graph takes batch {info.fixed_batch} only, got --batch {options.batch}. Leave it out."
            )
        shapes = shape_range(options.imgsz, info.fixed_batch, info.native_hw)
    if info.fixed_hw is not None and (shapes.dynamic_hw or shapes.opt_nhw[1:] != info.fixed_hw):
        raise UsageError(f"the graph takes images of {info.fixed_hw} only, got --imgsz {options.imgsz}. Leave it out.")
    for _, height, width in (shapes.min_nhw, shapes.opt_nhw, shapes.max_nhw) if info.variant != "foreign" else ():
        if min(height, width) < _MIN_PX:
            raise UsageError(f"image size must be at least {_MIN_PX}x{_MIN_PX}, got {height}x{width}. Enlarge it.")
        if info.task is Task.CLASSIFICATION and (height % _STRIDE_PX or width % _STRIDE_PX):
            raise UsageError(f"image size must be a multiple of {_STRIDE_PX}, got {height}x{width}. Round it.")
    return shapes


def resolve_preprocessing(options: ExportOptions, info: ModelInfo, shapes: ShapeRange) -> Preprocessing:
    """Return the steps from an image to the model's float input; options override those of the model."""
    own, channels = info.preprocessing, info.preprocessing.channel_order.channels
    if channels != 3 and options.pixels_in:
        raise UsageError(f"--pixels-in needs a model of three channels, got one of {channels}. Leave it out.")
    if options.preprocessing is not None:
        own = _named_preprocessing(options.preprocessing, info).for_channels(channels)
    fields = ("resize", "crop_pct", "interpolation", "mean", "std")
    given = {name: getattr(options, name) for name in fields if getattr(options, name) is not None}
    if channels == 1:  # the command line always takes three
        given |= {name: given[name][:1] for name in ("mean", "std") if name in given and len(set(given[name])) == 1}
    if given.get("resize") not in {None, "none"} and own.size_hw is None:
        given["size_hw"] = (_STRIDE_PX, _STRIDE_PX)  # a stand-in until the size is known
    own = dataclasses.replace(own, **given)
    if info.task is not Task.SEGMENTATION or not shapes.dynamic_hw:
        # The first two end at the image's own shape, but a fixed graph needs its own.
        resize = Resize.SQUASH if own.resize in {Resize.NONE, Resize.LONG_SIDE} else own.resize
        result = dataclasses.replace(own, resize=resize, size_hw=shapes.opt_nhw[1:])
    elif own.resize is Resize.LONG_SIDE:
        result = own
    else:  # the whole image
        result = dataclasses.replace(own, resize=Resize.NONE, size_hw=None)
    if options.resize is not None and options.resize != result.resize.value:
        whole = result.resize is Resize.NONE and info.task is Task.SEGMENTATION
        raise UsageError(
            f"--resize must be {'none or long-side' if whole else 'short-side or squash'} with this --imgsz, "
            f"got {options.resize}. Leave it out, or choose another --imgsz."
        )
    if options.crop_pct is not None and result.resize is not Resize.SHORT_SIDE:
        raise UsageError(f"--crop-pct applies to --resize short-side only, got {result.resize.value}. Leave it out.")
    if options.interpolation is not None and result.resize is Resize.NONE:
        raise UsageError("--interpolation applies where images are resized, got --resize none. Leave it out.")
    return result


def resolve_pixel_order(mode: str | bool) -> ChannelOrder | None:  # noqa: FBT001  # a mode or its default
    """Return the channel order of a uint8 input; None for a float input."""
    if mode is False:
        return None
    if mode is True:
        return ChannelOrder.BGR
    if mode not in {ChannelOrder.BGR.value, ChannelOrder.RGB.value}:
        raise UsageError(f"pixels-in must be 'bgr' or 'rgb', got '{mode}'. Choose one.")
    return ChannelOrder(mode)


def resolve_output_kind(mode: str | bool, info: ModelInfo) -> OutputKind:  # noqa: FBT001  # a mode or its default
    """Return what the graph's output holds."""
    if mode is False:
        return info.output_kind
    if info.headless:
        raise UsageError("--labels-out needs a model with a head, got one with features only. Leave it out.")
    if info.task is Task.SEGMENTATION:
        if mode is not True:
            raise UsageError(f"labels-out of a segmentation model takes no mode, got '{mode}'. Leave the mode out.")
        return OutputKind.LABELS
    if info.output_kind is OutputKind.PROBABILITIES:
        raise UsageError("labels-out needs logits, got a graph that ends in probabilities. Export without it.")
    return OutputKind.PROBABILITIES if mode == "softmax" else OutputKind.TOPK


def resolve_class_names(given: str | Path | Sequence[str] | None, info: ModelInfo) -> tuple[str, ...]:
    """Return one name per class: the user's, else those of the file, else those of the usual data set."""
    if info.headless:
        if given is not None:
            raise UsageError("--classes needs a model with a head, got one with features only. Leave it out.")
        return ()
    if given is None:
        names = info.classes or ()
    else:
        names = read_classes(given) if isinstance(given, str | Path) else tuple(given)
    if info.threshold is not None and len(names) == 1:  # that of the second class
        names = ("background" if info.task is Task.SEGMENTATION else f"not {names[0]}", names[0])
    if len(names) == info.num_classes:
        return names
    if given is not None:
        raise UsageError(
            f"class names must be {info.num_classes} as in the model's head, got {len(names)}. Correct them."
        )
    if names:
        counts = (len(names), info.num_classes)
        _LOG.warning("class names: the %d in the file are not used, for the head tells %d classes apart", *counts)
    return _assumed_names(info)


def resolve_threshold(given: float | None, info: ModelInfo, classes: tuple[str, ...]) -> float | None:
    """Return and log the probability that divides the classes of a model with one output channel; else None."""
    if info.threshold is None:
        if given is not None:
            raise UsageError(
                f"--threshold is for a model with one output channel, got one with {info.num_classes}. Leave it out."
            )
        return None
    threshold = given or info.threshold
    advice = "" if given is not None else "; --threshold sets another, --classes other names"
    _LOG.warning(
        "one output channel: a sigmoid above %g means '%s', else '%s'%s", threshold, classes[1], classes[0], advice
    )
    return threshold


def shape_range(imgsz: str | int | HeightWidth | None, batch: str | int | None, native_hw: HeightWidth) -> ShapeRange:
    """Read batch and image size as a user writes them.

    A size is H, "H", "HxW" or (H, W): fixed; "MIN:OPT:MAX" of those: a range; "dynamic": any; None: the model's own. A
    batch is N: fixed; "MIN:OPT:MAX": a range; None: 1 to 16, best at 1.
    """
    numbers = _DEFAULT_BATCH
    if batch is not None:
        parts = str(batch).split(":")
        if len(parts) not in {1, 3} or not all(map(_NUMBER.fullmatch, parts)):
            raise UsageError(f"batch must be N or MIN:OPT:MAX, got '{batch}'. Example: 1:8:16.")
        numbers = tuple(map(int, parts))
        if max(numbers) > BATCH:
            raise UsageError(f"--batch must be at most {BATCH}, got '{batch}'. Lower it.")
    min_hw, opt_hw, max_hw = _size_range(imgsz, native_hw)
    return ShapeRange((numbers[0], *min_hw), (numbers[len(numbers) // 2], *opt_hw), (numbers[-1], *max_hw))


def _size_range(
    imgsz: str | int | HeightWidth | None, native_hw: HeightWidth
) -> tuple[HeightWidth, HeightWidth, HeightWidth]:
    if imgsz is None:
        return native_hw, native_hw, native_hw
    if imgsz == "dynamic":
        return _DYNAMIC_MIN_HW, native_hw, _DYNAMIC_MAX_HW
    text = "x".join(map(str, imgsz)) if isinstance(imgsz, tuple | list) else str(imgsz)
    sizes = []
    for part in text.lower().split(":"):
        parts = part.split("x")
        if len(parts) not in {1, 2} or not all(map(_NUMBER.fullmatch, parts)):
            raise UsageError(f"image size must be H, HxW, MIN:OPT:MAX or 'dynamic', got '{text}'. Example: 512x1024.")
        sizes.append((int(parts[0]), int(parts[-1])))
    if max(max(size) for size in sizes) > IMAGE_SIDE:
        raise UsageError(f"--imgsz must be at most {IMAGE_SIDE} pixels a side, got '{text}'. Lower it.")
    if len(sizes) not in {1, 3}:
        raise UsageError(f"image size must be one size or MIN:OPT:MAX, got '{text}'. Example: 256:512x1024:1024x2048.")
    return sizes[0], sizes[len(sizes) // 2], sizes[-1]


def _assumed_names(info: ModelInfo) -> tuple[str, ...]:
    """Return the usual names of a head of that size; report it where nothing confirms them."""
    if info.threshold is not None:
        return _TWO[info.task]
    names = default_classes(info.task, info.num_classes)
    known = info.lineage.get("zoo") or info.lineage.get("weights") == RANDOM
    if isinstance(whose := pack_classes(names), str) and not known:
        _LOG.warning(
            "class names: those of %s are assumed for a head of %d classes; --classes gives others",
            _WHOSE[whose],
            info.num_classes,
        )
    return names


def _named_preprocessing(name: str | Path, info: ModelInfo) -> Preprocessing:
    """Return the preprocessing of a code base or of a file made here, in the model's channel order."""
    if str(name).lower().endswith((".onnx", ".engine")):
        card, order = inspect(Path(name)).card, info.preprocessing.channel_order
        if card is None:
            raise UsageError(f"--preprocessing must name a file with a model card, got {name}. Name one made here.")
        if card.task is not info.task:
            wanted, got = info.task.value, card.task.value
            raise UsageError(f"--preprocessing must name a file for {wanted}, got {name} for {got}. Name another.")
        # The card gives the order of its pixels; the model behind them has its own.
        return in_channel_order(card.preprocessing, order) if card.pixels_in else card.preprocessing
    if name not in _CODE_BASES:
        raise UsageError(
            f"--preprocessing must be {', '.join(_CODE_BASES)} or an .onnx or .engine file, got '{name}'. Choose one."
        )
    from hrnet_deploy.models.checkpoints import dialects

    if info.task is Task.CLASSIFICATION:
        known = (dialects.OFFICIAL, dialects.TIMM, dialects.MMPRETRAIN, dialects.PPCLS)
        return dict(zip(_CODE_BASES, known, strict=True))[str(name)].preprocessing
    if name != "official":
        raise UsageError(f"--preprocessing of a segmentation model must be official or a file, got {name}. Choose one.")
    return dialects.OFFICIAL_SEG.preprocessing


def in_channel_order(preprocessing: Preprocessing, order: ChannelOrder) -> Preprocessing:
    """Return the same preprocessing for images whose channels come in this order."""
    if preprocessing.channel_order is order:
        return preprocessing
    mean, std = preprocessing.mean[::-1], preprocessing.std[::-1]
    return dataclasses.replace(preprocessing, channel_order=order, mean=mean, std=std)
