"""Similarity of a converted graph's outputs to those of the float32 graph, on validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from hrnet_deploy.engines.difference import Cosine, compare, cosines
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.export.verify import pad_batch
from hrnet_deploy.processing.two_classes import two_scores
from hrnet_deploy.protocols import Engine
from hrnet_deploy.quantization_info import Similarity
from hrnet_deploy.system.progress import bar

_Named = dict[str, NDArray[np.float32]]
_MAX_VALUES = 64_000_000
"""Reference values kept in memory (256 MB as float32)."""


@dataclass(frozen=True)
class Scored:
    """Similarity of the scores, or of the features of a model without a head; and of each feature by name."""

    similarity: Similarity
    features: Mapping[str, Cosine]


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
        *,
        features: Sequence[str] = (),
        headless: bool = False,
    ) -> None:
        """Run the float32 graph on as many images as memory allows; `others` contribute label margins only."""
        self._cut, self._names, self._headless = cut, tuple(features), headless
        self._images: list[NDArray[np.float32]] = []
        self._outputs: list[NDArray[np.float32]] = []
        self._features: list[dict[str, NDArray[np.float32]]] = []
        engine = open_engine(reference.SerializeToString(), device="cpu", backend="onnxruntime")
        held = 0
        for image in images:
            output, named = self._run(engine, image)
            held += output.size + image.size + sum(array.size for array in named.values())
            if self._images and held > _MAX_VALUES:
                break
            self._images.append(image)
            self._outputs.append(output)
            self._features.append(named)
        outputs = [] if headless else [*self._outputs, *(self._run(engine, image)[0] for image in others)]
        engine.close()
        outputs = [two_scores(output, cut, axis=1) for output in outputs]
        single = all(output.size == output.shape[1] > 1 for output in outputs)
        self._margins = np.array([np.subtract(*_first_two(a.ravel(), a.ravel())) for a in outputs if single])
        self.count = len(self._images)

    def score(self, model: onnx.ModelProto) -> Similarity:
        """Compare a graph with the reference, whose input and outputs it has, over all images."""
        return self.compare(model).similarity

    def compare(self, model: onnx.ModelProto) -> Scored:
        """Compare a graph and its features with the reference, whose input and outputs it has, over all images."""
        engine = open_engine(model.SerializeToString(), device="cpu", backend="onnxruntime")
        found = (self._run(engine, image) for image in self._images)
        similar: dict[str, list[float]] = {name: [] for name in self._names}

        def scores() -> Iterator[NDArray[np.float32]]:
            for (output, named), wanted in zip(found, self._features, strict=True):
                for name in self._names:
                    similar[name].extend(cosines(named[name], wanted[name]))
                yield output

        judged = self._scores_similarity(scores()) if not self._headless else _noise(scores(), self._outputs)
        engine.close()
        if self._headless:
            judged = _with_cosines(judged, np.min(list(similar.values()), axis=0))
        return Scored(judged, {name: Cosine.of(values) for name, values in similar.items()})

    def _scores_similarity(self, outputs: Iterator[NDArray[np.float32]]) -> Similarity:
        """Compare scores of classes, image by image."""
        agreement, divergence, shifts, noise, signal, max_abs = [], [], [], 0.0, 0.0, 0.0
        for found, wanted in zip(outputs, self._outputs, strict=True):
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
        expected = float(np.mean(agreement))
        if shifts:  # all pairs of a margin and a noise of either sign; NaN counts as noise
            expected = 1 - float(np.mean(~(np.abs(shifts)[:, None] <= self._margins))) / 2
        spread = (signal / sum(a.size for a in self._outputs)) ** 0.5
        return Similarity(
            agreement=float(np.mean(agreement)),
            worst=min(agreement),
            expected=expected,
            divergence=float(np.mean(divergence)),
            sqnr_db=_decibels(signal, noise),
            max_abs=max_abs,
            max_rel=max_abs / max(spread, 1e-6),
        )

    def _run(self, engine: Engine, image: NDArray[np.float32]) -> tuple[NDArray[np.float32], _Named]:
        """First output and the features for one image; a fixed batch is padded."""
        spec = engine.inputs[0]
        found = engine.run({spec.name: pad_batch(image, spec)})
        rows = {name: array[:1].astype(np.float32) for name, array in found.items()}
        return rows[engine.outputs[0].name], {name: rows[name] for name in self._names}


def _noise(outputs: Iterator[NDArray[np.float32]], wanted: Sequence[NDArray[np.float32]]) -> Similarity:
    """Measure the noise of a feature."""
    noise = signal = max_abs = 0.0
    for found, reference in zip(outputs, wanted, strict=True):
        shift = found.astype(np.float64) - reference
        noise, max_abs = noise + float(np.sum(shift**2)), max(max_abs, float(np.abs(shift).max()))
        signal += float(np.sum((reference - reference.mean(dtype=np.float64)) ** 2))
    spread = (signal / sum(array.size for array in wanted)) ** 0.5
    return Similarity(
        agreement=0.0,
        worst=0.0,
        expected=0.0,
        divergence=0.0,
        sqnr_db=_decibels(signal, noise),
        max_abs=max_abs,
        max_rel=max_abs / max(spread, 1e-6),
    )


def _with_cosines(noise: Similarity, lowest: NDArray[np.float64]) -> Similarity:
    """Judge a model without a head by the least similar feature of each image."""
    mean = float(np.mean(lowest))
    # The distance of two unit vectors is proportional to the noise.
    distance = float(np.mean(np.sqrt(np.maximum(2 - 2 * lowest, 0))))
    return replace(noise, agreement=mean, worst=float(np.min(lowest)), expected=mean, divergence=distance)


def _decibels(signal: float, noise: float) -> float:
    return float(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30)))


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
