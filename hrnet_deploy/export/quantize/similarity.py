"""How much of the float32 answer a quantised graph keeps, on images it was not calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.difference import compare
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.export.filling import filled
from hrnet_deploy.processing.two_classes import two_scores
from hrnet_deploy.protocols import Engine
from hrnet_deploy.system.progress import bar

if TYPE_CHECKING:
    import onnx

_MAX_VALUES = 64_000_000
"""Reference values kept in memory (256 MB as float32)."""


@dataclass(frozen=True)
class Score:
    """Likeness to the float32 graph.

    Attributes:
        agreement: share of equal answers (labels, or pixels of the net's own output grid), 0..1.
        worst: the least agreement of one image.
        expected: the agreement to expect where any image may meet any other's noise; see `Scorer`. `agreement` where an
            image has more than one answer.
        divergence: mean over the images of the root of the mean KL divergence of their class shares. The root
            is in proportion to the noise, so that one image that nothing holds does not outweigh all others.
        sqnr_db: signal to quantisation noise of the logits, in dB.
        max_abs: largest difference of a logit.
        max_rel: the same in units of the logits' spread.
    """

    agreement: float
    worst: float
    expected: float
    divergence: float
    sqnr_db: float
    max_abs: float
    max_rel: float


class Scorer:
    """Holds the float32 answers to some images and compares graphs with them.

    Some dozen labels say little: INT8 changes one in a hundred. So the noise between the first two classes is taken
    from the images and the distance to go from many more: their pairs give the share of labels that would change.
    """

    def __init__(
        self,
        reference: onnx.ModelProto,
        images: Iterable[NDArray[np.float32]],
        others: Iterable[NDArray[np.float32]] = (),
        cut: float | None = None,
    ) -> None:
        """Run the reference.

        Args:
            reference: the float32 graph.
            images: network inputs, float32 (1, 3, H, W) each; as many are taken as memory allows.
            others: more of them, whose answers by the reference alone say how near its labels are to others.
            cut: of a net with one channel, the score above which the second class is meant.
        """
        self._cut = cut
        self._images: list[NDArray[np.float32]] = []
        self._answers: list[NDArray[np.float32]] = []
        engine = open_engine(reference.SerializeToString(), device="cpu", backend="onnxruntime")
        held = 0
        for image in images:
            answer = _run(engine, image)
            held += answer.size + image.size
            if self._images and held > _MAX_VALUES:
                break
            self._images.append(image)
            self._answers.append(answer)
        answers = [*self._answers, *(_run(engine, image) for image in others)]
        engine.close()
        answers = [two_scores(answer, cut, axis=1) for answer in answers]
        single = all(answer.size == answer.shape[1] > 1 for answer in answers)
        self._margins = np.array([np.subtract(*_first_two(a.ravel(), a.ravel())) for a in answers if single])

    @property
    def count(self) -> int:
        """How many images are compared."""
        return len(self._images)

    def score(self, model: onnx.ModelProto) -> Score:
        """Compare a graph with the reference.

        Args:
            model: with the reference's input and outputs.

        Returns:
            The likeness over all images.
        """
        engine = open_engine(model.SerializeToString(), device="cpu", backend="onnxruntime")
        agreement, divergence, shifts, noise, signal, max_abs = [], [], [], 0.0, 0.0, 0.0
        for image, wanted in zip(self._images, self._answers, strict=True):
            found = _run(engine, image)
            difference = compare(found, wanted, self._cut)
            agreement.append(difference.agreement)
            max_abs = max(max_abs, difference.max_abs)
            shares, other = (two_scores(scores, self._cut, axis=1) for scores in (wanted, found))
            divergence.append(_divergence(shares, other) ** 0.5)
            if self._margins.size:
                shifts.append(np.subtract(*_first_two(shares.ravel(), (other - shares).ravel())))
            noise += float(np.sum((found.astype(np.float64) - wanted) ** 2))
            # A score of its own has no spread; how far it lies from the cut is what noise must not take away.
            middle = wanted.mean(dtype=np.float64) if self._cut is None else self._cut
            signal += float(np.sum((wanted - middle) ** 2))
        engine.close()
        spread = (signal / sum(a.size for a in self._answers)) ** 0.5
        return Score(
            agreement=float(np.mean(agreement)),
            worst=min(agreement),
            expected=self._expected(shifts) if shifts else float(np.mean(agreement)),
            divergence=float(np.mean(divergence)),
            sqnr_db=float(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30))),
            max_abs=max_abs,
            max_rel=max_abs / max(spread, 1e-6),
        )

    def _expected(self, shifts: list[np.floating]) -> float:
        """Share of labels that stay, over all pairs of a margin and a noise of either sign."""
        noise = np.abs(np.array(shifts))
        return 1 - float(np.mean(~(noise[:, None] <= self._margins))) / 2  # NaN is noise, too


def ranked(blocks: Iterable[str], alone: Callable[[str], onnx.ModelProto], scorer: Scorer) -> dict[str, Score]:
    """Lower the precision of one block at a time.

    Args:
        blocks: their names.
        alone: the graph in which only that block has the lower precision.
        scorer: holds the float32 answers.

    Returns:
        The score of each block; the one that loses most comes first.
    """
    scores = {block: scorer.score(alone(block)) for block in bar(list(blocks), desc="sensitivity")}
    return dict(sorted(scores.items(), key=lambda item: -item[1].divergence))


def _first_two(order: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of the first and the second class in the order of others."""
    picked: NDArray[np.float32] = values[np.argsort(order)[:-3:-1]]
    return picked


def _divergence(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Mean over an image's answers of the KL divergence (nats) of the class shares, softmax over axis 1."""
    ours, reference = (_log_softmax(array.astype(np.float64)) for array in (found, wanted))
    total = float(np.mean(np.sum(np.exp(reference) * (reference - ours), axis=1)))
    return max(total, 0.0) if np.isfinite(total) else np.inf


def _log_softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = scores - scores.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _run(engine: Engine, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first output for one image, filled up to a graph's fixed batch."""
    spec = engine.inputs[0]
    return engine.run({spec.name: filled(image, spec)})[engine.outputs[0].name][:1].astype(np.float32)
