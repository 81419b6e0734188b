"""Quantization of an INT8 graph as its model card records it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hrnet_deploy.errors import UsageError


class QdqTarget(str, enum.Enum):
    """Runtime whose INT8 kernels fit the Q/DQ layout of a graph."""

    CPU = "cpu"
    """ONNX Runtime and OpenVINO: unsigned activations with a zero point on every value, INT32 biases."""
    TENSORRT = "tensorrt"
    """Symmetric signed activations at convolution inputs, residual sums and biases in floating point."""


class Residual(str, enum.Enum):
    """Inputs of the residual sums in a Q/DQ graph for TensorRT."""

    INT8 = "int8"
    """One operand passes a Q/DQ pair: TensorRT adds it inside an INT8 convolution. Resize and pools likewise."""
    FLOAT = "float"
    """Operands stay in floating point: nothing is rounded between the convolutions."""


DEFAULT_RESIDUAL = Residual.FLOAT
"""Layout whose accuracy meets every target (`calibration/README.md`)."""


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Similarity of a graph's outputs to those of its float32 graph, over validation images.

    Attributes:
        agreement: share of equal outputs (labels, or pixels of the model's own output grid), 0..1.
        worst: lowest agreement of one image.
        expected: expected agreement if any image may meet any other image's noise; see
            `export.quantize.similarity.SimilarityScorer`. Equal to `agreement` for a segmentation model.
        divergence: mean over the images of sqrt(KL divergence of the class probabilities); proportional to the noise,
            so that one outlier does not dominate.
        sqnr_db: signal to quantization noise ratio of the logits, in dB.
        max_rel: `max_abs`, the largest difference of a logit, divided by the spread of the logits.
    """

    agreement: float
    worst: float
    expected: float
    divergence: float
    sqnr_db: float
    max_abs: float
    max_rel: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            _require(name, value, isinstance(value, int | float), "a number")


@dataclass(frozen=True, kw_only=True)
class QuantizationInfo:
    """How an INT8 graph was quantized, and its figures on validation images.

    Attributes:
        method: calibration method, such as "entropy".
        images_sha256: digest of the list of calibration images, in hex.
        kept_in_float: blocks and nodes kept in floating point beyond those of the layout.
        remainder: "fp32" or "fp16", the precision of what is not INT8; "" in cards of schema 1.
        residual: inputs of the sums; None for the CPU layout.
        implicit: TensorRT quantized the engine itself with the same ranges; `validation` is that of the Q/DQ graph.
        method_divergence: `Similarity.divergence` by calibration method, where the best one was chosen automatically.
    """

    target: QdqTarget
    method: str = ""
    images: int = 0
    images_sha256: str = ""
    kept_in_float: tuple[str, ...] = ()
    remainder: str = ""
    residual: Residual | None = None
    implicit: bool = False
    validation: Similarity | None = None
    validation_images: int = 0
    method_divergence: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", QdqTarget(self.target))
        object.__setattr__(self, "residual", None if self.residual is None else Residual(self.residual))
        kinds = {"method": str, "images": int, "images_sha256": str, "implicit": bool, "validation_images": int}
        for name, kind in kinds.items():
            value = getattr(self, name)
            _require(name, value, type(value) is kind, f"of type {kind.__name__}")
        blocks, by_method = self.kept_in_float, self.method_divergence
        is_names = isinstance(blocks, list | tuple) and all(isinstance(name, str) for name in blocks)
        _require("kept_in_float", blocks, is_names, "a list of names")
        object.__setattr__(self, "kept_in_float", tuple(blocks))
        _require("remainder", self.remainder, self.remainder in {"", "fp32", "fp16"}, "fp32 or fp16")
        is_table = isinstance(by_method, Mapping) and all(type(value) in {int, float} for value in by_method.values())
        _require("method_divergence", by_method, is_table, "numbers by method")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QuantizationInfo:
        """Read what `dataclasses.asdict` gave, after a way through JSON."""
        validation = values.get("validation")
        return cls(**{**values, "validation": None if validation is None else Similarity(**validation)})

    def flat(self) -> tuple[dict[str, str], dict[str, float]]:
        """Spell the fields as entries of `lineage` and `measured`, as schema 1 did and JSON outputs still do."""
        lineage = {
            "calib_method": self.method,
            "calib_images": str(self.images),
            "calib_images_sha256": self.images_sha256,
            "qdq_target": self.target.value,
            "kept_fp": ",".join(self.kept_in_float),
        }
        if self.residual is not None:
            lineage["residual"] = self.residual.value
        if self.implicit:
            lineage |= {"int8_path": "implicit", "measured_quantization": "qdq"}
        if self.validation is None:
            return lineage, {}
        measured = {f"heldout_{name}": value for name, value in vars(self.validation).items()}
        measured |= {f"heldout_divergence_{method}": value for method, value in self.method_divergence.items()}
        return lineage, measured | {"heldout_images": float(self.validation_images)}


def upgrade_card(content: dict[str, Any]) -> None:
    """Turn the JSON values of a card of schema 1 (see `QuantizationInfo.flat`) into those of schema 2, in place."""
    lineage, measured = content.get("lineage"), content.setdefault("measured", {})
    if not isinstance(lineage, dict) or not isinstance(measured, dict) or "qdq_target" not in lineage:
        return
    names = [entry.name for entry in dataclasses.fields(Similarity)]
    figures = {name: measured.pop(f"heldout_{name}", None) for name in names}
    prefix = "heldout_divergence_"
    content["quantization"] = {
        "target": lineage.pop("qdq_target"),
        "method": lineage.pop("calib_method", ""),
        "images": int(lineage.pop("calib_images", "0")),
        "images_sha256": lineage.pop("calib_images_sha256", ""),
        "kept_in_float": [name for name in lineage.pop("kept_fp", "").split(",") if name],
        "residual": lineage.pop("residual", None),
        "implicit": lineage.pop("int8_path", "") == "implicit",
        "validation": None if None in figures.values() else figures,
        "validation_images": int(measured.pop("heldout_images", 0)),
        "method_divergence": {
            name.removeprefix(prefix): measured.pop(name) for name in list(measured) if name.startswith(prefix)
        },
    }
    lineage.pop("measured_quantization", None)


def _require(name: str, value: object, fits: bool, wanted: str) -> None:  # noqa: FBT001
    if not fits:
        raise UsageError(f"{name} must be {wanted}, got {value!r:.80}. Correct it.")
