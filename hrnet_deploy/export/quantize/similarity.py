"""Similarity of a converted graph's outputs to those of the float32 graph, on validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx
from numpy.typing import NDArray

from hrnet_deploy.engines.difference import compare
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.export.verify import pad_batch
from hrnet_deploy.processing.two_classes import two_scores
from hrnet_deploy.protocols import Engine
from hrnet_deploy.quantization_info import Similarity
from hrnet_deploy.system.progress import bar

_MAX_VALUES = 64_000_000
"""Reference values kept in memory (256 MB as float32)."""


class SimilarityScorer:
    """Keeps the float32 outputs on some images and compares graphs with them.

    Labels of a few dozen images are a coarse measure: INT8 changes one in a hundred. `Similarity.expected` therefore
    pairs the noise on these images with the label margins of many others.
    """

    def __init__(
        self,
        reference: onnx.ModelProto,
        images: Iterable[NDArray[np.float32]],
        others: Iterable[NDArray[np.float32]] = (),
        cut: float | None = None,
    ) -> None:
        """Run the float32 graph on as many images as memory allows; `others` contribute label margins only."""
        self._cut = cut
        self._images: list[NDArray[np.float32]] = []
        self._outputs: list[NDArray[np.float32]] = []
        engine = open_engine(reference.SerializeToString(), device="cpu", backend="onnxruntime")
        held = 0
        for image in images:
            output = _run(engine, image)
            held += output.size + image.size
            if self._images and held > _MAX_VALUES:
                break
            self._images.append(image)
            self._outputs.append(output)
        outputs = [*self._outputs, *(_run(engine, image) for image in others)]
        engine.close()
        outputs = [two_scores(output, cut, axis=1) for output in outputs]
        single = all(output.size == output.shape[1] > 1 for output in outputs)
        self._margins = np.array([np.subtract(*_first_two(a.ravel(), a.ravel())) for a in outputs if single])
        self.count = len(self._images)

    def score(self, model: onnx.ModelProto) -> Similarity:
        """Compare a graph with the reference, whose input and outputs it has, over all images."""
        engine = open_engine(model.SerializeToString(), device="cpu", backend="onnxruntime")
        agreement, divergence, shifts, noise, signal, max_abs = [], [], [], 0.0, 0.0, 0.0
        for image, wanted in zip(self._images, self._outputs, strict=True):
            found = _run(engine, image)
            difference = compare(found, wanted, self._cut)
            agreement.append(difference.agreement)
            max_abs = max(max_abs, difference.max_abs)
            shares, other = (two_scores(scores, self._cut, axis=1) for scores in (wanted, found))
            divergence.append(_divergence(shares, other) ** 0.5)
            if self._margins.size:
                shifts.append(np.subtract(*_first_two(shares.ravel(), (other - shares).ravel())))
            noise += float(np.sum((found.astype(np.float64) - wanted) ** 2))
            # A single score has no spread; its signal is the distance from the threshold.
            middle = wanted.mean(dtype=np.float64) if self._cut is None else self._cut
            signal += float(np.sum((wanted - middle) ** 2))
        engine.close()
        expected = float(np.mean(agreement))
        if shifts:  # all pairs of a margin and a noise of either sign; NaN counts as noise
            expected = 1 - float(np.mean(~(np.abs(shifts)[:, None] <= self._margins))) / 2
        spread = (signal / sum(a.size for a in self._outputs)) ** 0.5
        return Similarity(
            agreement=float(np.mean(agreement)),
            worst=min(agreement),
            expected=expected,
            divergence=float(np.mean(divergence)),
            sqnr_db=float(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30))),
            max_abs=max_abs,
            max_rel=max_abs / max(spread, 1e-6),
        )


def rank_by_sensitivity(
    blocks: Iterable[str], alone: Callable[[str], onnx.ModelProto], scorer: SimilarityScorer
) -> dict[str, Similarity]:
    """Lower the precision of one block at a time; the similarity by block, most sensitive first."""
    scores = {block: scorer.score(alone(block)) for block in bar(list(blocks), desc="sensitivity")}
    return dict(sorted(scores.items(), key=lambda item: -item[1].divergence))


def _first_two(order: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of the first and the second class in the order of other scores."""
    picked: NDArray[np.float32] = values[np.argsort(order)[:-3:-1]]
    return picked


def _divergence(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Mean KL divergence (nats) of the class probabilities of one image, softmax over axis 1."""
    logs = []
    for scores in (found, wanted):
        shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
        logs.append(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
    ours, reference = logs
    total = float(np.mean(np.sum(np.exp(reference) * (reference - ours), axis=1)))
    return max(total, 0.0) if np.isfinite(total) else np.inf


def _run(engine: Engine, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """First output for one image; a fixed batch is padded."""
    spec = engine.inputs[0]
    return engine.run({spec.name: pad_batch(image, spec)})[engine.outputs[0].name][:1].astype(np.float32)
