"""How far an answer may be from its reference, by what the answer holds and in which precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hrnet_deploy.engines.difference import Difference
from hrnet_deploy.errors import VerificationError
from hrnet_deploy.spec import ModelCard, OutputKind, Precision


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is tolerated.

    Attributes:
        logits: largest |difference|, in units of their spread.
        scores: largest |difference| of probabilities.
        labels: least share of equal pixels of a label map.
        demand: what a missed limit says was wanted, after the precision.
        advice: what to do then.
    """

    logits: Mapping[Precision, float]
    scores: Mapping[Precision, float]
    labels: Mapping[Precision, float]
    demand: str
    advice: str

    def check(self, worst: Difference, card: ModelCard) -> None:
        """Refuse what is too far off.

        Args:
            worst: the largest difference that was met.
            card: of the artefact.

        Raises:
            VerificationError: beyond the limit, or not finite.
        """
        precision = card.precision
        if card.output_kind is OutputKind.LABELS:
            found, limit, what = worst.agreement, self.labels[precision], "share of equal pixels"
            fits = found >= limit
        elif card.output_kind is OutputKind.LOGITS:
            found, limit, what = worst.max_rel, self.logits[precision], "max |difference| / spread of the logits"
            fits = found <= limit
        else:
            found, limit, what = worst.max_abs, self.scores[precision], "max |difference| of the scores"
            fits = found <= limit
        if not fits:
            raise VerificationError(
                f"{precision.value} {self.demand}, got {what} {found:.3g} (limit {limit:g}). {self.advice}"
            )
