"""Values that travel between packages and inside artifacts: frozen, validated, JSON in and out.

Sizes are (height, width). Constructors refuse values that could not be used later.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hrnet_deploy.errors import ArtifactError, UsageError, one_line
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import CLASS_NAME_CHARACTERS, CLASSES
from hrnet_deploy.preprocessing_spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ChannelOrder,
    Interpolation,
    Preprocessing,
    Resize,
    Rounding,
    normalize_enums,
)
from hrnet_deploy.quantization_info import QuantizationInfo, upgrade_card
from hrnet_deploy.tensor_spec import ShapeRange, TensorSpec

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "SCHEMA",
    "ChannelOrder",
    "Interpolation",
    "ModelCard",
    "OutputKind",
    "Precision",
    "Preprocessing",
    "Resize",
    "Rounding",
    "ShapeRange",
    "Task",
    "TensorSpec",
    "check_threshold",
]

SCHEMA = 2
"""Version of the card's JSON. Schema 1 is read, too: see `quantization_info.upgrade_card`."""


class Task(str, enum.Enum):
    """Task of a model."""

    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"


class Precision(str, enum.Enum):
    """Arithmetic written into a graph."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class OutputKind(str, enum.Enum):
    """Content of a graph's first output."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    TOPK = "topk"
    """Classification: `labels` (N, k) int64 and `scores` (N, k) float32, best first."""
    LABELS = "labels"
    """Segmentation: `labels` (N, H, W) uint8 class ids at input size."""
    FEATURES = "features"
    """A model without a head: every output is a feature, and there are no classes."""


_SCORE_OUTPUTS = {OutputKind.TOPK: 2, OutputKind.FEATURES: 0}
"""Number of outputs before the features, where it is not one."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a runtime needs to know about an artifact, stored inside it.

    Attributes:
        variant: architecture name, such as "hrnet_w18", or "foreign".
        classes: class names by index.
        shapes: batch, height and width that the artifact takes.
        output_kind: content of the first output.
        pixels_in: the input is uint8 (N, H, W, 3) in `preprocessing.channel_order`; the graph normalizes it.
        align_corners: how segmentation logits are resized to the image.
        threshold: for a model with one output channel, the probability above which the second class is predicted; None
            for a model with one channel per class.
        palette: class colors, RGB 0..255; None for the usual ones.
        quantization: how an INT8 graph was quantized; None for other precisions.
        lineage: origin: digests, dialect, tool versions.
        measured: figures measured by the export, such as parity with the original.
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
    quantization: QuantizationInfo | None = None
    lineage: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def least_batch(self) -> int:
        """Smallest batch: that of the first input if it is fixed."""
        fixed = self.inputs[0].shape[0]
        return fixed if isinstance(fixed, int) else self.shapes.min_nhw[0]

    @property
    def features(self) -> tuple[TensorSpec, ...]:
        """Outputs that are features: those behind the outputs of the head."""
        return self.outputs[_SCORE_OUTPUTS.get(self.output_kind, 1) :]

    @property
    def headless(self) -> bool:
        """Whether the model computes features only."""
        return self.output_kind is OutputKind.FEATURES

    def has_channels(self, count: int) -> bool:
        """Return whether scores of so many channels suit the classes.

        Two classes with a threshold have one channel, or two where the graph computes both probabilities.
        """
        if self.threshold is None:
            return count == len(self.classes)
        return count == 1 or (count == 2 and self.output_kind is OutputKind.PROBABILITIES)

    def __post_init__(self) -> None:
        normalize_enums(self, task=Task, precision=Precision, output_kind=OutputKind)
        self._check_types()
        for name in ("classes", "inputs", "outputs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.classes and not self.headless:
            raise UsageError("a model card needs at least one class name, got none. Give --classes or --num-classes.")
        if self.threshold is not None:
            check_threshold(self.threshold)
            if len(self.classes) != 2:
                raise UsageError(f"a threshold divides two classes, got {len(self.classes)}. Name two.")
        if self.palette is not None:
            object.__setattr__(self, "palette", _colors(self.palette, len(self.classes)))
        if self.task is Task.SEGMENTATION and len(self.classes) > 255:
            raise UsageError(f"a mask is uint8 with 255 as ignore, got {len(self.classes)} classes. Use at most 255.")
        if not self.inputs or not self.outputs:
            raise UsageError("a model card needs an input and an output, got none. Check the graph.")
        own = OutputKind.TOPK if self.task is Task.CLASSIFICATION else OutputKind.LABELS
        if self.output_kind not in {OutputKind.LOGITS, OutputKind.PROBABILITIES, OutputKind.FEATURES, own}:
            raise UsageError(f"{self.task.value} has no output kind '{self.output_kind.value}'. Use one of its own.")

    def _check_types(self) -> None:
        """Refuse types that JSON allows and a runtime would fail on."""
        classes: Any = self.classes
        if isinstance(classes, str) or not all(isinstance(c, str) for c in classes):
            raise UsageError(f"each class name of a model card must be a text, got {classes!r:.80}. Correct it.")
        if len(classes) > CLASSES or max(map(len, classes), default=0) > CLASS_NAME_CHARACTERS:
            raise UsageError(
                f"a model card must have at most {CLASSES} classes of {CLASS_NAME_CHARACTERS} characters, got "
                f"{len(classes)} of up to {max(map(len, classes))}. Shorten them."
            )
        kinds: Mapping[str, type] = {"variant": str, "pixels_in": bool, "align_corners": bool, "opset": int}
        for name, kind in kinds.items():
            if type(getattr(self, name)) is not kind:
                raise UsageError(
                    f"{name} must be of type {kind.__name__}, got {getattr(self, name)!r:.80}. Correct it."
                )
        if self.quantization is not None and not isinstance(self.quantization, QuantizationInfo):
            raise UsageError(f"quantization must be a QuantizationInfo, got {self.quantization!r:.80}. Correct it.")
        values: Mapping[str, tuple[type, ...]] = {"lineage": (str,), "measured": (int, float)}
        for name, allowed in values.items():
            table = getattr(self, name)
            fits = isinstance(table, Mapping) and all(isinstance(k, str) for k in table)
            if not fits or not all(isinstance(v, allowed) for v in table.values()):
                raise UsageError(f"{name} must map names to {allowed[-1].__name__}, got {table!r:.80}. Correct it.")

    def to_json(self) -> str:
        """Write compact JSON with sorted keys: equal cards give equal bytes."""
        content = {"schema": SCHEMA, **dataclasses.asdict(self)}
        for name in ("threshold", "palette", "quantization"):  # most cards have none
            if content[name] is None:
                del content[name]
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def to_record(self) -> dict[str, Any]:
        """Convert to JSON values, where lineage and measured also hold the quantization by its names of schema 1."""
        content: dict[str, Any] = json.loads(self.to_json())
        if self.quantization is not None:
            for table, entries in zip(("lineage", "measured"), self.quantization.flat(), strict=True):
                content[table] = dict(sorted((content[table] | entries).items()))
        return content

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read JSON from `to_json`, of this schema or of schema 1; ArtifactError for anything that cannot be used."""
        try:
            content: dict[str, Any] = parse_json(text)
            schema = content.pop("schema")
            if schema not in {1, SCHEMA}:
                raise ArtifactError(f"model card has schema {schema}, expected {SCHEMA}. Upgrade hrnet-deploy.")
            if schema == 1:
                upgrade_card(content)
            unknown = content.keys() - {entry.name for entry in dataclasses.fields(cls)}
            if unknown:
                raise ArtifactError(
                    f"model card cannot be read (it has an unknown field '{min(unknown):.80}'). Upgrade hrnet-deploy."
                )
            content["preprocessing"] = Preprocessing(**content["preprocessing"])
            content["inputs"] = tuple(TensorSpec(**s) for s in content["inputs"])
            content["outputs"] = tuple(TensorSpec(**s) for s in content["outputs"])
            content["shapes"] = ShapeRange(**content["shapes"])
            if content.get("quantization") is not None:
                content["quantization"] = QuantizationInfo.from_dict(content["quantization"])
            return cls(**content)
        except ArtifactError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else one_line(error, 300)
            raise ArtifactError(f"model card cannot be read ({reason}). Export the artifact again.") from error


def check_threshold(value: Any) -> None:
    """Refuse a threshold that is not a probability between 0 and 1."""
    if type(value) not in {int, float} or not 0 < value < 1:
        raise UsageError(f"threshold must be a probability between 0 and 1, got {value!r:.80}. The usual one is 0.5.")


def _colors(palette: Any, count: int) -> tuple[tuple[int, int, int], ...]:
    rows = tuple(tuple(row) for row in palette)
    if len(rows) != count or not all(
        len(row) == 3 and all(type(v) is int and 0 <= v <= 255 for v in row) for row in rows
    ):
        raise UsageError(f"a palette must hold red, green and blue from 0 to 255 for each class, got {palette!r:.60}.")
    return rows
