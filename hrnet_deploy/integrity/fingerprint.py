"""Output fingerprint: a few numbers of an artifact's output on a synthetic image, stored in its card at export.

The image comes from a fixed seed and is not stored. The numbers are compared within the precision's tolerance because
their last bits differ between CPUs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.onnx_header import graph_sha256, read_header
from hrnet_deploy.engines.graph import onnxruntime_cpu_arithmetic
from hrnet_deploy.errors import ArtifactError, HrnetDeployError
from hrnet_deploy.evaluation.model_runner import EngineModel, ModelRunner
from hrnet_deploy.imaging.drawing import Image
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.protocols import Engine
from hrnet_deploy.spec import ModelCard, OutputKind, Precision, Resize, Task

PICTURE_KEY = "golden_picture"
"""Entry of a card's lineage: start of the digest of the synthetic image's pixels."""
ANSWER_KEY = "golden_answer"
"""Entry of a card's lineage: the output, as JSON."""

GRAPH_KEY = "content_sha256"
"""Entry of a card's lineage: digest of the graph in the file the card is in, or of the one an engine was built from."""

RUNTIME_KEY = "measured_on"
"""Entry of a card's lineage: runtime, device and arithmetic of the fingerprint and of the card's figures."""

TOLERANCE = {Precision.FP32: 2e-3, Precision.FP16: 5e-2, Precision.INT8: 0.15}
"""Largest |difference| of a value, in units of the spread of the output, on the runtime of the fingerprint.

FP32 and FP16: the tolerances of an export, with room for the digits stored. INT8: another order of rounding moved a
w18_small_v1 by 0.006; the limit is about the loss by quantization, so that it reveals saturating sums (no VNNI).
"""
_ELSEWHERE = {Precision.FP32: 5e-2, Precision.FP16: 0.1, Precision.INT8: 0.35}
"""The same for a GPU's kernels, which may use TF32."""
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
    """Comparison of an output with the fingerprint.

    Attributes:
        verdict: "same", "different", "none" (the card has no fingerprint) or "other-picture" (OpenCV or NumPy draw
            another image on this machine, so a comparison is not possible).
    """

    verdict: str
    detail: str


def fingerprint(engine: Engine, card: ModelCard) -> dict[str, str]:
    """Run an artifact on its synthetic image; return the image's digest and the output, for its card's lineage."""
    image = _image(card)
    summary = _summary(_run(engine, card, image), card)
    return {PICTURE_KEY: _digest(image), ANSWER_KEY: json.dumps(summary, separators=(",", ":"))}


def artifact_fingerprint(content: bytes, engine: Engine, card: ModelCard) -> dict[str, str]:
    """Make what a card keeps so that its .onnx file can be verified; `engine` runs it on ONNX Runtime's CPU kernels.

    Returns entries for the card's lineage: digest of the graph, output fingerprint, and the runtime and arithmetic of
    the fingerprint and of the card's figures.
    """
    measured_on = f"{engine.backend} {engine.device} {onnxruntime_cpu_arithmetic(read_header(content))}"
    return {GRAPH_KEY: graph_sha256(content), RUNTIME_KEY: measured_on, **fingerprint(engine, card)}


def check_fingerprint(engine: Engine, card: ModelCard) -> FingerprintCheck:
    """Run an artifact again, on any runtime, and compare its output with the fingerprint in its card."""
    stored = card.lineage.get(ANSWER_KEY)
    if stored is None:
        return FingerprintCheck("none", "the card holds no fingerprint; exports of this version store one")
    image = _image(card)
    if card.lineage.get(PICTURE_KEY) != _digest(image):
        return FingerprintCheck("other-picture", "OpenCV or NumPy draws another image here than where it was exported")
    wanted = _parsed(stored, card)
    try:
        found = _run(engine, card, image)
    except HrnetDeployError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, cv2.error) as error:
        # The card has other shapes or another kind of output than its graph.
        raise ArtifactError(f"card must fit its graph, got: {error!s:.120}. Export the artifact again.") from error
    limits = TOLERANCE if engine.device == "cpu" else _ELSEWHERE
    return _compared(wanted, found, limits[card.precision], _AGREEMENT[card.precision])


@dataclass(frozen=True, eq=False)
class _Output:
    """Values by class, their spread, and for a segmentation model labels at fixed places."""

    values: Mapping[int, float]
    spread: float
    grid: NDArray[np.uint8] | None = None


def _run(engine: Engine, card: ModelCard, image: Image) -> _Output:
    spec = card.preprocessing
    if card.shapes.dynamic_hw:
        # A large size costs seconds and adds nothing; the image has the right size already.
        spec = replace(spec, resize=Resize.SQUASH, size_hw=(image.shape[0], image.shape[1]))
    network = ModelRunner(EngineModel(engine, replace(card, preprocessing=spec)))
    rows = network.prepare(image)
    (outputs,) = network.run([rows], batch=1)
    values = outputs[0][0]
    if card.headless:  # the mean of each channel of the first feature
        channels = values.astype(np.float64).reshape(len(values), -1).mean(axis=1)
        return _Output(dict(enumerate(channels.tolist())), max(float(channels.std()), _LEAST_SPREAD))
    if card.task is Task.SEGMENTATION:
        mask = network.mask(outputs, rows, (image.shape[0], image.shape[1]))
        places = [((np.arange(_GRID) + 0.5) * side / _GRID).astype(int) for side in mask.shape]
        grid = np.ascontiguousarray(mask[np.ix_(*places)]).ravel()
        if card.output_kind is OutputKind.LABELS:
            return _Output({}, 1.0, grid)
        planes = values.astype(np.float64).reshape(len(values), -1)
        return _Output(dict(enumerate(planes.mean(axis=1).tolist())), _spread(planes, card), grid)
    if card.output_kind is OutputKind.TOPK:
        scores = outputs[0][1].astype(np.float64).tolist()
        return _Output(dict(zip(values.astype(int).tolist(), scores, strict=True)), 1.0)
    row = values.astype(np.float64).ravel()
    spread = _spread(row, card) if card.output_kind is OutputKind.LOGITS else 1.0
    return _Output(dict(enumerate(row.tolist())), spread)


def _spread(values: NDArray[np.float64], card: ModelCard) -> float:
    """Unit of the distances; for a single channel at least one, the unit of a logit."""
    return max(float(values.std()), 0.0 if card.threshold is None else 1.0)


def _summary(output: _Output, card: ModelCard) -> dict[str, Any]:
    """Values to store: the mean of every plane of a segmentation model, the five best classes of a classifier."""
    kept = list(output.values)
    if card.task is Task.CLASSIFICATION or card.headless:
        kept = sorted(kept, key=lambda index: (-output.values[index], index))[:_BEST]
    content: dict[str, Any] = {"spread": _rounded(output.spread)}
    if kept:
        content["values"] = {str(index): _rounded(output.values[index]) for index in kept}
    if output.grid is not None:
        content["grid"] = output.grid.tobytes().hex()
    return content


def _compared(wanted: _Output, found: _Output, limit: float, agreement: float) -> FingerprintCheck:
    # A class outside the top k has at most the score of the last one in it.
    floor = min(found.values.values(), default=0.0)
    spread = max(wanted.spread, _LEAST_SPREAD)
    far = [abs(found.values.get(index, min(floor, value)) - value) / spread for index, value in wanted.values.items()]
    worst = max(far, default=0.0)
    if not worst <= limit or any(math.isnan(one) for one in far):
        return FingerprintCheck("different", f"a value is off by {worst:.3g} of the output's spread (limit {limit:g})")
    detail = f"values agree within {worst:.2g} of the output's spread (limit {limit:g})" if far else "labels agree"
    if wanted.grid is None or found.grid is None:
        return FingerprintCheck("same", detail)
    share = float(np.mean(wanted.grid == found.grid))
    verdict = "same" if share >= agreement else "different"
    return FingerprintCheck(verdict, f"{share:.0%} of the sampled labels are equal (limit {agreement:.0%}), {detail}")


def _parsed(text: str, card: ModelCard) -> _Output:
    try:
        if len(text) > _LIMIT_CHARACTERS:
            raise ValueError("too long a text")
        content = parse_json(text)
        values = {int(index): float(value) for index, value in content.get("values", {}).items()}
        grid = None
        if card.task is Task.SEGMENTATION and not card.headless:
            grid = np.frombuffer(bytes.fromhex(content["grid"]), np.uint8)
            if grid.size != _GRID * _GRID:
                raise ValueError(f"a grid of {grid.size} labels")
        elif not values:
            raise ValueError("no values")
        return _Output(values, float(content["spread"]), grid)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ArtifactError(
            f"fingerprint of the card must be readable, got: {error!s:.80}. Export the artifact again."
        ) from error


def _rounded(value: float) -> float:
    """Five significant digits."""
    return float(f"{value:.5g}")


def _digest(image: Image) -> str:
    shape = "x".join(map(str, image.shape[:2]))
    return f"{shape} {hashlib.sha256(image.tobytes()).hexdigest()[:_DIGEST_DIGITS]}"


def _image(card: ModelCard) -> Image:
    """Synthetic image that needs all of the card's preprocessing, with a resize if the size is fixed."""
    height, width = card.shapes.opt_nhw[1:]
    if card.shapes.dynamic_hw:
        low, high = card.shapes.min_nhw[1:], card.shapes.max_nhw[1:]
        sizes = [min(max(want, a), b) for want, a, b in zip(_OPEN_HW, low, high, strict=True)]
        height, width = sizes
    elif card.preprocessing.resize in {Resize.SHORT_SIDE, Resize.SQUASH}:
        height, width = round(height * _LARGER), round(width * _LARGER)
    if height * width > _LIMIT_PX:
        raise ArtifactError(
            f"fingerprint image must have at most {_LIMIT_PX} pixels, got {height}x{width} from the card. "
            "Export the artifact for a smaller size."
        )
    return synthetic_images(1, (height, width), card.preprocessing.channel_order.channels)[0]
