"""The golden answer: what an artefact said to a made picture when it was exported, and whether it still says so.

The picture is made from a fixed seed, so none is stored; the answer is a few numbers, compared within the precision's
tolerance, since the last bits differ from one CPU to the next.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.onnx_header import graph_sha256
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import ArtifactError, HrnetDeployError
from hrnet_deploy.evaluation.model_runner import EngineModel, ModelRunner
from hrnet_deploy.imaging.drawing import Image
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.protocols import Engine
from hrnet_deploy.spec import ModelCard, OutputKind, Precision, Resize, Task

PICTURE_KEY = "golden_picture"
"""Entry of a card's lineage: the start of the digest of the made picture's pixels."""
ANSWER_KEY = "golden_answer"
"""Entry of a card's lineage: the answer, as JSON."""

GRAPH_KEY = "content_sha256"
"""Entry of a card's lineage: digest of the graph in the file the card is in, or of the one an engine was built from."""

RUNTIME_KEY = "measured_on"
"""Entry of a card's lineage: runtime, device and arithmetic of the golden answer and of the card's figures."""

TOLERANCE = {Precision.FP32: 2e-3, Precision.FP16: 5e-2, Precision.INT8: 0.15}
"""Largest |difference| of a value, in units of the spread of the answer, on the runtime that gave the golden one.

FP32 and FP16 as an export is judged, with room for the digits stored. INT8: another order of rounding moved a
w18_small_v1 by 0.006; the limit is about what quantising costs, so that saturating sums (no VNNI) are noticed.
"""
_ELSEWHERE = {Precision.FP32: 5e-2, Precision.FP16: 0.1, Precision.INT8: 0.35}
"""The same for a GPU's own kernels, TF32 among them."""
_AGREEMENT = {Precision.FP32: 0.98, Precision.FP16: 0.95, Precision.INT8: 0.85}
_BEST = 5
_GRID = 8
_OPEN_HW = (128, 192)
_LARGER = 1.25
_DIGEST_DIGITS = 16
_LEAST_SPREAD = 1e-6
_LIMIT_CHARACTERS = 20_000
_LIMIT_PX = 1 << 25


@dataclass(frozen=True)
class FingerprintCheck:
    """How an answer compares with the golden one.

    Attributes:
        verdict: "same", "different", "none" (the card holds no golden answer) or "other-picture" (this machine's
            OpenCV or NumPy draws another picture, so nothing can be said).
        detail: one clause for a person.
    """

    verdict: str
    detail: str


def fingerprint(engine: Engine, card: ModelCard) -> dict[str, str]:
    """Ask an artefact for its golden answer.

    Args:
        engine: the opened artefact.
        card: what it says of itself.

    Returns:
        Entries for the card's lineage: a digest of the picture, and the answer.

    Raises:
        DeviceError: the runtime failed.
    """
    image = _picture(card)
    summary = _summary(_answered(engine, card, image), card)
    return {PICTURE_KEY: _digest(image), ANSWER_KEY: json.dumps(summary, separators=(",", ":"))}


def store_fingerprint(path: Path, card: ModelCard) -> dict[str, str]:
    """What a card keeps so that its .onnx file can be verified later.

    Args:
        path: the file, as it is handed over but for the card.
        card: what it says of itself.

    Returns:
        Entries for the card's lineage: digest of the graph, the golden answer on ONNX Runtime's CPU kernels, and that
        these gave it and the card's figures, with their arithmetic.

    Raises:
        DeviceError: the runtime failed.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    engine = open_engine(path, device="cpu", backend="onnxruntime")
    try:
        measured_on = f"{engine.backend} {engine.device} {engine.arithmetic}"
        return {GRAPH_KEY: graph_sha256(path), RUNTIME_KEY: measured_on, **fingerprint(engine, card)}
    finally:
        engine.close()


def check_fingerprint(engine: Engine, card: ModelCard) -> FingerprintCheck:
    """Ask an artefact again, and compare.

    Args:
        engine: the opened artefact, on any runtime.
        card: what it says of itself.

    Returns:
        The verdict.

    Raises:
        ArtifactError: the card's golden answer cannot be read, or the card does not fit the graph.
        DeviceError: the runtime failed.
    """
    stored = card.lineage.get(ANSWER_KEY)
    if stored is None:
        return FingerprintCheck("none", "the card holds no golden answer; exports of this version store one")
    image = _picture(card)
    if card.lineage.get(PICTURE_KEY) != _digest(image):
        return FingerprintCheck(
            "other-picture", "OpenCV or NumPy draws another picture here than where it was exported"
        )
    wanted = _parsed(stored, card)
    try:
        found = _answered(engine, card, image)
    except HrnetDeployError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, cv2.error) as error:
        # A card whose shapes or kind of output are not those of the graph it travels in.
        raise ArtifactError(f"card must fit its graph, got: {error!s:.120}. Export the artefact again.") from error
    limits = TOLERANCE if engine.device == "cpu" else _ELSEWHERE
    return _compared(wanted, found, limits[card.precision], _AGREEMENT[card.precision])


@dataclass(frozen=True, eq=False)
class _Answer:
    """Values by class, their spread, and for a segmenter labels at fixed places."""

    values: Mapping[int, float]
    spread: float
    grid: NDArray[np.uint8] | None = None


def _answered(engine: Engine, card: ModelCard, image: Image) -> _Answer:
    spec = card.preprocessing
    if card.shapes.dynamic_hw:
        # A large size would cost seconds and tell no more; the picture has the wanted one already.
        spec = replace(spec, resize=Resize.SQUASH, size_hw=(image.shape[0], image.shape[1]))
    network = ModelRunner(EngineModel(engine, replace(card, preprocessing=spec)))
    rows = network.prepare(image)
    (outputs,) = network.run([rows], batch=1)
    values = outputs[0][0]
    if card.task is Task.SEGMENTATION:
        grid = _grid(network.mask(outputs, rows, (image.shape[0], image.shape[1])))
        if card.output_kind is OutputKind.LABELS:
            return _Answer({}, 1.0, grid)
        planes = values.astype(np.float64).reshape(len(values), -1)
        return _Answer(dict(enumerate(planes.mean(axis=1).tolist())), _spread(planes, card), grid)
    if card.output_kind is OutputKind.TOPK:
        scores = outputs[0][1].astype(np.float64).tolist()
        return _Answer(dict(zip(values.astype(int).tolist(), scores, strict=True)), 1.0)
    row = values.astype(np.float64).ravel()
    spread = _spread(row, card) if card.output_kind is OutputKind.LOGITS else 1.0
    return _Answer(dict(enumerate(row.tolist())), spread)


def _spread(values: NDArray[np.float64], card: ModelCard) -> float:
    """What distances are measured by; of a single channel at least a logit's own unit."""
    return max(float(values.std()), 0.0 if card.threshold is None else 1.0)


def _summary(answer: _Answer, card: ModelCard) -> dict[str, Any]:
    """What is stored: every plane's mean of a segmenter, the five best classes of a classifier."""
    kept = list(answer.values)
    if card.task is Task.CLASSIFICATION:
        kept = sorted(kept, key=lambda index: (-answer.values[index], index))[:_BEST]
    content: dict[str, Any] = {"spread": _rounded(answer.spread)}
    if kept:
        content["values"] = {str(index): _rounded(answer.values[index]) for index in kept}
    if answer.grid is not None:
        content["grid"] = answer.grid.tobytes().hex()
    return content


def _compared(wanted: _Answer, found: _Answer, limit: float, agreement: float) -> FingerprintCheck:
    # A class beyond a top-k has at most the score of the last one in it.
    floor = min(found.values.values(), default=0.0)
    spread = max(wanted.spread, _LEAST_SPREAD)
    far = [abs(found.values.get(index, min(floor, value)) - value) / spread for index, value in wanted.values.items()]
    worst = max(far, default=0.0)
    if not worst <= limit or any(math.isnan(one) for one in far):
        return FingerprintCheck("different", f"a value is off by {worst:.3g} of the answer's spread (limit {limit:g})")
    detail = f"values agree within {worst:.2g} of the answer's spread (limit {limit:g})" if far else "labels agree"
    if wanted.grid is None or found.grid is None:
        return FingerprintCheck("same", detail)
    share = float(np.mean(wanted.grid == found.grid))
    verdict = "same" if share >= agreement else "different"
    return FingerprintCheck(verdict, f"{share:.0%} of the sampled labels are equal (limit {agreement:.0%}), {detail}")


def _parsed(text: str, card: ModelCard) -> _Answer:
    try:
        if len(text) > _LIMIT_CHARACTERS:
            raise ValueError("too long a text")
        content = json.loads(text)
        values = {int(index): float(value) for index, value in content.get("values", {}).items()}
        grid = None
        if card.task is Task.SEGMENTATION:
            grid = np.frombuffer(bytes.fromhex(content["grid"]), np.uint8)
            if grid.size != _GRID * _GRID:
                raise ValueError(f"a grid of {grid.size} labels")
        elif not values:
            raise ValueError("no values")
        return _Answer(values, float(content["spread"]), grid)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ArtifactError(
            f"golden answer of the card must be readable, got: {error!s:.80}. Export the artefact again."
        ) from error


def _grid(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The labels in the middle of each field of a chessboard."""
    rows, columns = (((np.arange(_GRID) + 0.5) * side / _GRID).astype(int) for side in mask.shape)
    return np.ascontiguousarray(mask[np.ix_(rows, columns)]).ravel()


def _rounded(value: float) -> float:
    """Five significant digits."""
    return float(f"{value:.5g}")


def _digest(image: Image) -> str:
    shape = "x".join(map(str, image.shape[:2]))
    return f"{shape} {hashlib.sha256(image.tobytes()).hexdigest()[:_DIGEST_DIGITS]}"


def _picture(card: ModelCard) -> Image:
    """A made picture that runs through all of the card's preprocessing, resizing included where the size is fixed."""
    height, width = card.shapes.opt_nhw[1:]
    if card.shapes.dynamic_hw:
        low, high = card.shapes.min_nhw[1:], card.shapes.max_nhw[1:]
        sizes = [min(max(want, a), b) for want, a, b in zip(_OPEN_HW, low, high, strict=True)]
        height, width = sizes
    elif card.preprocessing.resize in {Resize.SHORT_SIDE, Resize.SQUASH}:
        height, width = round(height * _LARGER), round(width * _LARGER)
    if height * width > _LIMIT_PX:
        raise ArtifactError(
            f"golden picture must have at most {_LIMIT_PX} pixels, got {height}x{width} from the card. "
            "Export the artefact for a smaller size."
        )
    return synthetic_images(1, (height, width))[0]
