"""Measured or predicted: whether a model ran on its target or on a stand-in for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.engines.load import ENGINE_SUFFIXES
from hrnet_deploy.evaluation.run_info import EvaluatedModel
from hrnet_deploy.qdq_plan import QdqTarget
from hrnet_deploy.spec import Precision

TENSORRT = "TensorRT"
GPU = "a GPU"
_HALF = frozenset({"float16", "bfloat16"})
_TENSORRT_BACKENDS = frozenset({"tensorrt", "tensorrt-rtx", "onnxruntime-trt", "onnxruntime-rtx"})


@dataclass(frozen=True)
class RuntimeStatus:
    """Runtime of a model, and the target its accuracy is predicted for.

    Attributes:
        runtime: backend, device and arithmetic, such as "openvino cpu bfloat16".
        target: `TENSORRT` or `GPU` for a prediction; "" for a measurement on the target itself.
    """

    runtime: str
    target: str

    @property
    def predicted(self) -> bool:
        """Whether accuracy is a prediction; speed then does not carry over to the target."""
        return bool(self.target)

    @property
    def status(self) -> str:
        """Either "measured" or, for example, "predicted for TensorRT"."""
        return f"predicted for {self.target}" if self.target else "measured"

    def __str__(self) -> str:
        """For example "measured on tensorrt cuda:0" or "predicted for TensorRT from onnxruntime cpu"."""
        return f"{self.status} {'from' if self.target else 'on'} {self.runtime}"


@dataclass(frozen=True)
class PredictionPair:
    """Rows of a prediction and of the same model's measurement, and measured - predicted in percentage points."""

    predicted: int
    measured: int
    gap: float

    def to_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        """Convert to JSON values, with the rows' labels instead of their indices."""
        return {"predicted": labels[self.predicted], "measured": labels[self.measured], "gap_points": self.gap}


def runtime_status(model: EvaluatedModel) -> RuntimeStatus:
    """Decide whether a model was measured on its target.

    Predictions are an INT8 graph with TensorRT's Q/DQ layout that ran elsewhere, and an FP16 graph in float32 on a CPU.
    """
    runtime = " ".join(part for part in (model.backend, model.device, model.arithmetic) if part)
    if _is_engine(model) or model.backend in _TENSORRT_BACKENDS:
        return RuntimeStatus(runtime, "")
    info = model.card.quantization
    if info is not None and info.target is QdqTarget.TENSORRT:
        return RuntimeStatus(runtime, TENSORRT)
    half = model.arithmetic in _HALF or model.device != "cpu"
    return RuntimeStatus(runtime, GPU if model.card.precision is Precision.FP16 and not half else "")


def prediction_pairs(models: Sequence[EvaluatedModel], values: Sequence[float]) -> tuple[PredictionPair, ...]:
    """Pair each engine with the .onnx file of the same source, where both are present; values are metrics, 0..1."""
    pairs = []
    for measured, engine in enumerate(models):
        if not _is_engine(engine):
            continue
        graphs = (index for index, model in enumerate(models) if not _is_engine(model))
        predicted = next((index for index in graphs if _source(models[index]) == _source(engine)), None)
        if predicted is not None:
            pairs.append(PredictionPair(predicted, measured, 100 * (values[measured] - values[predicted])))
    return tuple(pairs)


def _is_engine(model: EvaluatedModel) -> bool:
    return model.path is not None and model.path.suffix.lower() in ENGINE_SUFFIXES


def _source(model: EvaluatedModel) -> tuple[object, ...]:
    """Collect what an engine has in common with the graph that predicts it."""
    card, info = model.card, model.card.quantization
    weights = [card.lineage.get(key) for key in ("weights_sha256", "graph_sha256")]
    recipe = None if info is None else (info.target, info.method, info.images_sha256, info.kept_in_float)
    return card.variant, card.precision, *weights, recipe
