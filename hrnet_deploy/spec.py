"""The values that travel between rooms and inside artefacts: frozen, validated, JSON in and out.

Sizes are (height, width). A value that could not be used later is refused when it is made.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hrnet_deploy.color_scale import check_scale, three_numbers
from hrnet_deploy.errors import ArtifactError, UsageError

SCHEMA = 1
"""Version of the card's JSON; a card with a newer one is refused."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means (RGB, 0..1) of every HRNet dialect. Source: HRNet-Image-Classification, tools/valid.py."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel standard deviations (RGB, 0..1). Source: as IMAGENET_MEAN."""

_CARD_SIZE_LIMIT_PX = 1 << 16


class Task(str, enum.Enum):
    """What a net answers."""

    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"


class Precision(str, enum.Enum):
    """The arithmetic written into a graph."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class OutputKind(str, enum.Enum):
    """What the graph's first output holds."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    TOPK = "topk"
    """Classification: `labels` (N, k) int64 and `scores` (N, k) float32, best first."""
    LABELS = "labels"
    """Segmentation: `labels` (N, H, W) uint8 class ids at input size."""


class Resize(str, enum.Enum):
    """How an image reaches the network's size."""

    SHORT_SIDE = "short-side"
    """Short side to size / crop_pct, then a centre crop (ImageNet evaluation)."""
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
    """How a dialect rounds the long side and the crop offset."""

    TORCHVISION = "torchvision"
    """Long side int(), crop offset int(round()). Source: torchvision.transforms.functional."""
    PADDLE = "paddle"
    """Long side int(round()), crop offset //2. Source: ppcls/data/preprocess/ops/operators.py."""


class ChannelOrder(str, enum.Enum):
    """Order of the colour channels the network (or a pixels-in graph) expects."""

    RGB = "rgb"
    BGR = "bgr"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From a decoded image to the network input.

    Attributes:
        resize: how the size is reached.
        size_hw: network input (height, width) in pixels; None for the image's own size (resize "none" only).
        crop_pct: size / short side before the centre crop, in (0, 1]; used by "short-side" only.
        interpolation: resampling filter.
        rounding: the dialect's rounding of long side and crop offset.
        mean: per channel, on a 0..1 scale, in the network's channel order.
        std: per channel, on a 0..1 scale, in the network's channel order.
        channel_order: what the network expects.
    """

    resize: Resize = Resize.SHORT_SIDE
    size_hw: tuple[int, int] | None = (224, 224)
    crop_pct: float = 0.875
    interpolation: Interpolation = Interpolation.BILINEAR
    rounding: Rounding = Rounding.TORCHVISION
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channel_order: ChannelOrder = ChannelOrder.RGB

    def __post_init__(self) -> None:
        _normalise_enums(self)
        if self.size_hw is None:
            if self.resize is not Resize.NONE:
                raise UsageError(f"resize '{self.resize.value}' needs a size (height, width), got none. Give --imgsz.")
        else:
            object.__setattr__(self, "size_hw", _positive_ints("image size", self.size_hw, 2))
        if not 0 < self.crop_pct <= 1:
            raise UsageError(f"crop fraction must be in (0, 1], got {self.crop_pct}. ImageNet nets use 0.875.")
        for name in ("mean", "std"):
            object.__setattr__(self, name, three_numbers(name, getattr(self, name)))
        check_scale(self.mean, self.std)


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output.

    Attributes:
        name: tensor name.
        dtype: NumPy name, such as "float32".
        shape: one entry a dimension; a string names a dynamic one.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        shape = tuple(self.shape)
        if not all(type(v) is str for v in (self.name, self.dtype)) or not all(type(d) in {int, str} for d in shape):
            raise UsageError(
                f"a tensor needs a name, a dtype and a shape of numbers and names, got {self}. Correct it."
            )
        object.__setattr__(self, "shape", shape)


@dataclass(frozen=True)
class ShapeRange:
    """Batch, height and width an artefact takes; the three differ where it is dynamic.

    Attributes:
        min_nhw: smallest (batch, height, width).
        opt_nhw: the one to optimise for.
        max_nhw: largest.
    """

    min_nhw: tuple[int, int, int]
    opt_nhw: tuple[int, int, int]
    max_nhw: tuple[int, int, int]

    def __post_init__(self) -> None:
        for name in ("min_nhw", "opt_nhw", "max_nhw"):
            object.__setattr__(self, name, _positive_ints("shape range", getattr(self, name), 3))
        for axis, low, opt, high in zip(
            ("batch", "height", "width"), self.min_nhw, self.opt_nhw, self.max_nhw, strict=True
        ):
            if not low <= opt <= high:
                raise UsageError(f"{axis} range must satisfy min <= opt <= max, got {low}:{opt}:{high}. Reorder it.")

    @property
    def dynamic_batch(self) -> bool:
        """Whether the batch size may vary."""
        return self.min_nhw[0] != self.max_nhw[0]

    @property
    def dynamic_hw(self) -> bool:
        """Whether height or width may vary."""
        return self.min_nhw[1:] != self.max_nhw[1:]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """All a runtime needs to know about an artefact; it travels inside it.

    Attributes:
        task: what the net answers.
        variant: architecture name, such as "hrnet_w18", or "foreign".
        classes: class names by index.
        preprocessing: from image to network input.
        precision: arithmetic of the graph.
        inputs: graph inputs.
        outputs: graph outputs.
        shapes: batch, height and width it takes.
        output_kind: what the first output holds.
        pixels_in: the input is uint8 (N, H, W, 3) in `preprocessing.channel_order` and the graph normalises.
        align_corners: how segmentation logits are upsampled to the image.
        opset: ONNX opset as written.
        threshold: of a net with one output channel, which stands for the second of two classes: the probability above
            which that is the answer; None for a net with one channel a class.
        palette: class colours, RGB 0..255; None for the usual ones.
        lineage: where it came from: digests, dialect, tool versions.
        measured: figures measured when it was made, such as parity with its reference.
    """

    task: Task
    variant: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    shapes: ShapeRange
    output_kind: OutputKind = OutputKind.LOGITS
    pixels_in: bool = False
    align_corners: bool = False
    opset: int = 0
    threshold: float | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None
    lineage: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def least_batch(self) -> int:
        """Rows of the smallest batch: that of the first input where it is fixed."""
        fixed = self.inputs[0].shape[0]
        return fixed if isinstance(fixed, int) else self.shapes.min_nhw[0]

    def __post_init__(self) -> None:
        _normalise_enums(self)
        self._check_types()
        for name in ("classes", "inputs", "outputs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.classes:
            raise UsageError("a model card needs at least one class name, got none. Give --classes or --num-classes.")
        if self.threshold is not None:
            check_threshold(self.threshold)
            if len(self.classes) != 2:
                raise UsageError(f"a threshold divides two classes, got {len(self.classes)}. Name two.")
        if self.palette is not None:
            object.__setattr__(self, "palette", _colours(self.palette, len(self.classes)))
        if self.task is Task.SEGMENTATION and len(self.classes) > 255:
            raise UsageError(f"a mask is uint8 with 255 as ignore, got {len(self.classes)} classes. Use at most 255.")
        if not self.inputs or not self.outputs:
            raise UsageError("a model card needs an input and an output, got none. Check the graph.")
        kinds = {
            Task.CLASSIFICATION: {OutputKind.LOGITS, OutputKind.PROBABILITIES, OutputKind.TOPK},
            Task.SEGMENTATION: {OutputKind.LOGITS, OutputKind.PROBABILITIES, OutputKind.LABELS},
        }[self.task]
        if self.output_kind not in kinds:
            raise UsageError(f"{self.task.value} has no output kind '{self.output_kind.value}'. Use one of its own.")

    def _check_types(self) -> None:
        """Cards come from files, where a text may stand for a number: what JSON allows, a runtime would trip over."""
        classes: Any = self.classes
        if isinstance(classes, str) or not all(isinstance(c, str) for c in classes):
            raise UsageError(f"each class name of a model card must be a text, got {classes!r:.80}. Correct it.")
        kinds: Mapping[str, type] = {"variant": str, "pixels_in": bool, "align_corners": bool, "opset": int}
        for name, kind in kinds.items():
            if type(getattr(self, name)) is not kind:
                raise UsageError(
                    f"{name} must be of type {kind.__name__}, got {getattr(self, name)!r:.80}. Correct it."
                )
        values: Mapping[str, tuple[type, ...]] = {"lineage": (str,), "measured": (int, float)}
        for name, allowed in values.items():
            table = getattr(self, name)
            fits = isinstance(table, Mapping) and all(isinstance(k, str) for k in table)
            if not fits or not all(isinstance(v, allowed) for v in table.values()):
                raise UsageError(f"{name} must map names to {allowed[-1].__name__}, got {table!r:.80}. Correct it.")

    def to_json(self) -> str:
        """Compact JSON with sorted keys, so equal cards give equal bytes."""
        content = {"schema": SCHEMA, **dataclasses.asdict(self)}
        for name in ("threshold", "palette"):  # few nets have them, and what reads schema 1 knows no others
            if content[name] is None:
                del content[name]
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card.

        Args:
            text: what `to_json` wrote.

        Returns:
            The card.

        Raises:
            ArtifactError: not a card, one of a newer schema, or one whose values cannot be used.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            schema = content.pop("schema")
            if schema != SCHEMA:
                raise ArtifactError(f"model card has schema {schema}, expected {SCHEMA}. Upgrade hrnet-deploy.")
            content["preprocessing"] = Preprocessing(**content["preprocessing"])
            content["inputs"] = tuple(TensorSpec(**s) for s in content["inputs"])
            content["outputs"] = tuple(TensorSpec(**s) for s in content["outputs"])
            content["shapes"] = ShapeRange(**content["shapes"])
            return cls(**content)
        except ArtifactError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise ArtifactError(f"model card cannot be read ({error}). Export the artefact again.") from error


def check_threshold(value: Any) -> None:
    """Refuse what divides nothing.

    Args:
        value: a probability.

    Raises:
        UsageError: not a number between 0 and 1.
    """
    if type(value) not in {int, float} or not 0 < value < 1:
        raise UsageError(f"threshold must be a probability between 0 and 1, got {value!r}. The usual one is 0.5.")


def _colours(palette: Any, count: int) -> tuple[tuple[int, int, int], ...]:
    rows = tuple(tuple(row) for row in palette)
    if len(rows) != count or not all(
        len(row) == 3 and all(type(v) is int and 0 <= v <= 255 for v in row) for row in rows
    ):
        raise UsageError(f"a palette must hold red, green and blue from 0 to 255 for each class, got {palette!r:.60}.")
    return rows


def _normalise_enums(record: Any) -> None:
    """Turn plain strings (from JSON or a user) into the enum each field is annotated with."""
    for name, kind in _ENUM_FIELDS.items():
        if hasattr(record, name):
            value = getattr(record, name)
            try:
                object.__setattr__(record, name, kind(value))
            except ValueError as error:
                allowed = ", ".join(member.value for member in kind)
                raise UsageError(f"{name} must be one of {allowed}, got '{value}'. Choose one.") from error


def _positive_ints(what: str, values: Any, count: int) -> tuple[Any, ...]:
    checked = tuple(values)
    if len(checked) != count or not all(type(v) is int and 0 < v <= _CARD_SIZE_LIMIT_PX for v in checked):
        raise UsageError(f"{what} must be {count} integers from 1 to {_CARD_SIZE_LIMIT_PX}, got {values}. Correct it.")
    return checked


_ENUM_FIELDS: Mapping[str, type[enum.Enum]] = {
    "task": Task,
    "precision": Precision,
    "output_kind": OutputKind,
    "resize": Resize,
    "interpolation": Interpolation,
    "rounding": Rounding,
    "channel_order": ChannelOrder,
}
