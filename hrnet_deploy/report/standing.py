"""Whether a row was measured where it will run, or predicts what another runtime will answer."""

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
class Standing:
    """What a row's figures are figures of.

    Attributes:
        runtime: what really ran it, where and in which arithmetic, such as "openvino cpu bfloat16".
        target: what its accuracy is a prediction for, `TENSORRT` or `GPU`; "" where it was measured on its target.
    """

    runtime: str
    target: str

    @property
    def predicted(self) -> bool:
        """Whether accuracy is predicted, and speed therefore says nothing about the target."""
        return bool(self.target)

    @property
    def status(self) -> str:
        """As "measured" or "predicted for TensorRT"."""
        return f"predicted for {self.target}" if self.target else "measured"

    def __str__(self) -> str:
        """As "measured on tensorrt cuda:0" or "predicted for TensorRT from onnxruntime cpu"."""
        return f"{self.status} {'from' if self.target else 'on'} {self.runtime}"


@dataclass(frozen=True)
class Pair:
    """A prediction beside the measurement of the same net on its target.

    Attributes:
        predicted: place of the row that predicts; 0 is the reference.
        measured: place of the engine's row.
        gap: measured - predicted in percentage points of the metric.
    """

    predicted: int
    measured: int
    gap: float

    def to_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        """Plain values, ready for JSON.

        Args:
            labels: of the rows.
        """
        return {"predicted": labels[self.predicted], "measured": labels[self.measured], "gap_points": self.gap}


def standing(facts: EvaluatedModel) -> Standing:
    """Where a net ran and what that says.

    Args:
        facts: of the net.

    Returns:
        Its standing: an INT8 graph laid out for TensorRT predicts the engine wherever else it runs, and an FP16 graph
        computed in float32, as on a CPU without half precision, predicts a GPU.
    """
    runtime = " ".join(part for part in (facts.backend, facts.device, facts.arithmetic) if part)
    if is_engine(facts) or facts.backend in _TENSORRT_BACKENDS:
        return Standing(runtime, "")
    if facts.card.lineage.get("qdq_target") == QdqTarget.TENSORRT.value:
        return Standing(runtime, TENSORRT)
    half = facts.arithmetic in _HALF or facts.device != "cpu"
    return Standing(runtime, GPU if facts.card.precision is Precision.FP16 and not half else "")


def pairs(models: Sequence[EvaluatedModel], values: Sequence[float]) -> tuple[Pair, ...]:
    """Predictions and measurements of the same net.

    Args:
        models: of the rows.
        values: metric of each row, 0..1.

    Returns:
        For each engine the .onnx of the same card, where both are there.
    """
    found = []
    for measured, engine in enumerate(models):
        if not is_engine(engine):
            continue
        for predicted, graph in enumerate(models):
            if not is_engine(graph) and _origin(graph) == _origin(engine):
                found.append(Pair(predicted, measured, 100 * (values[measured] - values[predicted])))
                break
    return tuple(found)


def is_engine(facts: EvaluatedModel) -> bool:
    """Whether a net is a TensorRT engine.

    Args:
        facts: of the net.

    Returns:
        True for an .engine, .plan or .trt file.
    """
    return facts.path is not None and facts.path.suffix.lower() in ENGINE_SUFFIXES


def _origin(facts: EvaluatedModel) -> tuple[str, ...]:
    """What a net was made from and how; equal for an engine and the graph that predicts it."""
    card = facts.card
    keys = ("weights_sha256", "graph_sha256", "calib_method", "calib_images_sha256", "kept_fp", "qdq_target")
    made = [card.lineage.get(key, "") for key in keys]
    return card.variant, card.precision.value, *made
