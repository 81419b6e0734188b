"""The two ends of an artefact: what it takes, and what it answers with."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from hrnet_deploy.artifact.known_classes import pack_classes
from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.info import RANDOM, ModelInfo
from hrnet_deploy.export.preprocessing_option import named_preprocessing
from hrnet_deploy.export.shapes import shape_range
from hrnet_deploy.export.wishes import Wishes
from hrnet_deploy.imaging.class_names import default_classes, read_classes
from hrnet_deploy.spec import ChannelOrder, OutputKind, Preprocessing, Resize, ShapeRange, Task

_LOG = logging.getLogger(__name__)
_TWO = {Task.CLASSIFICATION: ("negative", "positive"), Task.SEGMENTATION: ("background", "foreground")}
"""What the two classes of a net with one output channel are called where nobody names them."""
_WHOSE = {"imagenet": "ImageNet", "cityscapes": "Cityscapes"}
_STRIDE_PX = 32
_MIN_PX = 32


def shapes_taken(wishes: Wishes, facts: ModelInfo) -> ShapeRange:
    """Batch, height and width.

    Args:
        wishes: from the user.
        facts: of the net.

    Returns:
        The range.

    Raises:
        UsageError: one the graph or the net cannot take.
    """
    shapes = shape_range(wishes.imgsz, wishes.batch, facts.native_hw)
    if facts.fixed_batch is not None:
        if wishes.batch is not None and (shapes.dynamic_batch or shapes.opt_nhw[0] != facts.fixed_batch):
            raise UsageError(
                f"the graph takes batch {facts.fixed_batch} only, got --batch {wishes.batch}. Leave it out."
            )
        shapes = shape_range(wishes.imgsz, facts.fixed_batch, facts.native_hw)
    if facts.fixed_hw is not None and (shapes.dynamic_hw or shapes.opt_nhw[1:] != facts.fixed_hw):
        raise UsageError(f"the graph takes images of {facts.fixed_hw} only, got --imgsz {wishes.imgsz}. Leave it out.")
    if facts.variant != "foreign":
        _check_size(facts.task, shapes)
    return shapes


def preprocessing_before(wishes: Wishes, facts: ModelInfo, shapes: ShapeRange) -> Preprocessing:
    """From an image to what the graph takes, where its input is float.

    Args:
        wishes: from the user, whose overrides win.
        facts: of the net.
        shapes: from `shapes_taken`.

    Returns:
        Preprocessing that ends at those sizes.
    """
    own = facts.preprocessing
    if wishes.preprocessing is not None:
        own = named_preprocessing(wishes.preprocessing, facts)
    return _with_size(_overridden(own, wishes), facts.task, shapes)


def pixels_taken(wish: str | bool) -> ChannelOrder | None:  # noqa: FBT001  # a mode or its default
    """The channel order of a graph that takes bytes.

    Args:
        wish: "bgr", "rgb", True for OpenCV's, or False.

    Returns:
        The order; None for a graph that takes floats.

    Raises:
        UsageError: another mode.
    """
    if wish is False:
        return None
    if wish is True:
        return ChannelOrder.BGR
    try:
        return ChannelOrder(wish)
    except ValueError as error:
        raise UsageError(f"pixels-in must be 'bgr' or 'rgb', got '{wish}'. Choose one.") from error


def answer_given(wish: str | bool, facts: ModelInfo) -> OutputKind:  # noqa: FBT001  # a mode or its default
    """What the graph answers with.

    Args:
        wish: "topk", "softmax", True for the task's own, or False for what the net gives.
        facts: of the net.

    Returns:
        The kind.

    Raises:
        UsageError: one this net cannot give.
    """
    if wish is False:
        return facts.output_kind
    if facts.task is Task.SEGMENTATION:
        if wish is not True:
            raise UsageError(f"labels-out of a segmentation net takes no mode, got '{wish}'. Leave the mode out.")
        return OutputKind.LABELS
    if facts.output_kind is OutputKind.PROBABILITIES:
        raise UsageError("labels-out needs logits, got a graph that ends in probabilities. Export without it.")
    return OutputKind.PROBABILITIES if wish == "softmax" else OutputKind.TOPK


def classes_named(wish: str | Path | Sequence[str] | None, facts: ModelInfo) -> tuple[str, ...]:
    """What the classes are called.

    Args:
        wish: names, or a file of them; None for the file's own, else the data set's with as many.
        facts: of the net.

    Returns:
        One name a class.

    Raises:
        UsageError: more or fewer than the net has.
        MissingFileError: there is no such file.
    """
    if wish is None:
        return _names_of_file(facts) or _names_assumed(facts)
    names = read_classes(wish) if isinstance(wish, str | Path) else tuple(wish)
    if facts.threshold is not None:
        names = _with_the_rest(names, facts.task)
    if len(names) != facts.num_classes:
        raise UsageError(
            f"class names must be {facts.num_classes} as in the net's head, got {len(names)}. Correct them."
        )
    return names


def threshold_set(wish: float | None, facts: ModelInfo, classes: tuple[str, ...]) -> float | None:
    """Where the one score of a net with one output channel divides its two classes; a line says so.

    Args:
        wish: from the user; None for the file's own.
        facts: of the net.
        classes: names of its classes.

    Returns:
        The probability; None for a net with one channel a class.

    Raises:
        UsageError: a wish for a net that has no use for it.
    """
    if facts.threshold is None:
        if wish is not None:
            raise UsageError(
                f"--threshold is for a net with one output channel, got one with {facts.num_classes}. Leave it out."
            )
        return None
    threshold = wish or facts.threshold
    advice = "" if wish is not None else "; --threshold sets another, --classes other names"
    _LOG.warning(
        "one output channel: a sigmoid above %g means '%s', else '%s'%s", threshold, classes[1], classes[0], advice
    )
    return threshold


def _names_of_file(facts: ModelInfo) -> tuple[str, ...] | None:
    """Those in the checkpoint; a list of another length is left out, and a line says so."""
    names = facts.classes
    if names and facts.threshold is not None:
        names = _with_the_rest(names, facts.task)
    if names and len(names) != facts.num_classes:
        _LOG.warning(
            "class names: the %d in the file are not used, for the head tells %d classes apart",
            len(names),
            facts.num_classes,
        )
        return None
    return names


def _names_assumed(facts: ModelInfo) -> tuple[str, ...]:
    """The usual names of a head of that size; a line says so where it is known of neither net nor data set."""
    if facts.threshold is not None:
        return _TWO[facts.task]
    names = default_classes(facts.task, facts.num_classes)
    known = facts.lineage.get("zoo") or facts.lineage.get("weights") == RANDOM
    if isinstance(whose := pack_classes(names), str) and not known:
        _LOG.warning(
            "class names: those of %s are assumed for a head of %d classes; --classes gives others",
            _WHOSE[whose],
            facts.num_classes,
        )
    return names


def _with_the_rest(names: tuple[str, ...], task: Task) -> tuple[str, ...]:
    """Two names of a net with one channel: the one it is for is the second."""
    if len(names) != 1:
        return names
    return ("background" if task is Task.SEGMENTATION else f"not {names[0]}", names[0])


def _check_size(task: Task, shapes: ShapeRange) -> None:
    for nhw in (shapes.min_nhw, shapes.opt_nhw, shapes.max_nhw):
        height, width = nhw[1:]
        if min(height, width) < _MIN_PX:
            raise UsageError(f"image size must be at least {_MIN_PX}x{_MIN_PX}, got {height}x{width}. Enlarge it.")
        if task is Task.CLASSIFICATION and (height % _STRIDE_PX or width % _STRIDE_PX):
            raise UsageError(f"image size must be a multiple of {_STRIDE_PX}, got {height}x{width}. Round it.")


def _overridden(preprocessing: Preprocessing, wishes: Wishes) -> Preprocessing:
    fields = ("resize", "crop_pct", "interpolation", "mean", "std")
    given = {name: getattr(wishes, name) for name in fields if getattr(wishes, name) is not None}
    if given.get("resize") not in {None, "none"} and preprocessing.size_hw is None:
        given["size_hw"] = (_STRIDE_PX, _STRIDE_PX)  # stands in until the size is known
    return dataclasses.replace(preprocessing, **given)


def _with_size(preprocessing: Preprocessing, task: Task, shapes: ShapeRange) -> Preprocessing:
    """Preprocessing that ends at the size the artefact takes; with open sizes segmentation sees the whole image."""
    if task is Task.SEGMENTATION and shapes.dynamic_hw:
        if preprocessing.resize is Resize.LONG_SIDE:
            return preprocessing
        return dataclasses.replace(preprocessing, resize=Resize.NONE, size_hw=None)
    height, width = shapes.opt_nhw[1:]
    open_ended = {Resize.NONE, Resize.LONG_SIDE}  # these end at the image's own shape, a fixed graph needs its own
    resize = Resize.SQUASH if preprocessing.resize in open_ended else preprocessing.resize
    return dataclasses.replace(preprocessing, resize=resize, size_hw=(height, width))
