"""How a checkpoint is to be understood, where it does not say it itself."""

from __future__ import annotations

from dataclasses import dataclass

from hrnet_deploy.errors import UsageError
from hrnet_deploy.spec import ModelCard, Task

_ALIGN_CORNERS, _WEIGHTS_KEY, _INPLACE_ABN, _EMA = "align_corners", "weights_key", "inplace_abn", "ema"
_YES = "true"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options that say what is in a checkpoint; `export_artifact` says what each field means."""

    ema: bool = False
    weights_key: str | None = None
    align_corners: bool | None = None
    inplace_abn: bool = False

    def __post_init__(self) -> None:
        """Refuse two ways to choose at once.

        Raises:
            UsageError: both --ema and --weights-key.
        """
        if self.ema and self.weights_key is not None:
            raise UsageError(
                f"--weights-key chooses the copy already, got {self.weights_key} and --ema. Leave one out."
            )

    def refuse_for(self, name: str, reason: str) -> None:
        """Refuse every option for something that it cannot change.

        Args:
            name: the thing.
            reason: what the thing is or does.

        Raises:
            UsageError: an option was given.
        """
        if self.align_corners is not None:
            flag = "--align-corners" if self.align_corners else "--no-align-corners"
            raise UsageError(f"{flag} says how a checkpoint is read, got {name}, which {reason}. Leave it out.")
        self.refuse_for_graph(name, reason)

    def refuse_for_graph(self, name: str, reason: str) -> None:
        """Refuse the options that only a checkpoint has a use for.

        Args:
            name: the thing.
            reason: what the thing is or does.

        Raises:
            UsageError: an option was given.
        """
        given = {"--ema": self.ema, "--weights-key": self.weights_key is not None, "--inplace-abn": self.inplace_abn}
        for flag, is_given in given.items():
            if is_given:
                raise UsageError(f"{flag} says how a checkpoint is read, got {name}, which {reason}. Leave it out.")

    def lineage(self, *, align_corners: bool) -> dict[str, str]:
        """What an artefact's card keeps, so that its checkpoint can be read the same way again.

        Args:
            align_corners: as found.

        Returns:
            Only what differs from the defaults.
        """
        given = {_ALIGN_CORNERS: align_corners, _INPLACE_ABN: self.inplace_abn, _EMA: self.ema}
        key = {} if self.weights_key is None else {_WEIGHTS_KEY: self.weights_key}
        return {name: _YES for name, is_given in given.items() if is_given} | key


AS_STORED = Reading()
"""Every option left to the file."""


def reading_of(card: ModelCard) -> Reading:
    """How the checkpoint of an artefact was read.

    Args:
        card: the artefact's.

    Returns:
        The options it was exported with.
    """
    lineage = card.lineage
    return Reading(
        ema=_EMA in lineage,
        weights_key=lineage.get(_WEIGHTS_KEY),
        align_corners=card.align_corners if "weights_sha256" in lineage and card.task is Task.SEGMENTATION else None,
        inplace_abn=_INPLACE_ABN in lineage,
    )
