"""List of results, which notebooks and pandas can show."""

from __future__ import annotations

import html
import importlib
from typing import TYPE_CHECKING, Any

from hrnet_deploy.errors import MissingDependencyError
from hrnet_deploy.results import ClassificationResult, Result, SegmentationResult

_SHOWN = 12
"""Results that a notebook shows."""


class Results(list[Result]):
    """A list of results, in the order of the images."""

    def records(self) -> list[dict[str, Any]]:
        """Return one flat dict for each image, ready for a table.

        Returns:
            `name`, `path`; `pred_label`, `pred_class`, `pred_score`, or `height`, `width` and the share (0..1) of each
            class that any result has, under its name; and milliseconds of each stage.
        """
        present = {name: None for one in self if isinstance(one, SegmentationResult) for name in one.shares}
        return [_record(one, list(present)) for one in self]

    def to_df(self) -> Any:
        """Return the records as a pandas DataFrame.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise MissingDependencyError(f"to_df needs pandas, got: {error}. pip install pandas.") from error
        return pandas.DataFrame(self.records())

    def _repr_html_(self) -> str:
        """Show the first images side by side in a notebook."""
        left = len(self) - _SHOWN
        more = f"<p>{html.escape(f'and {left} more')}</p>" if left > 0 else ""
        shown = "".join(one._repr_html_() for one in self[:_SHOWN])
        return f'<div style="display:flex;flex-wrap:wrap;gap:1em">{shown}</div>{more}'


if TYPE_CHECKING:

    class OneOrMany(Result, Results):  # type: ignore[misc]
        """What `predict` returns for a path, to a type checker: it may name one image or many, so it accepts both."""
else:
    OneOrMany = Result


def _record(result: Result, present: list[str]) -> dict[str, Any]:
    record: dict[str, Any] = {"name": result.name, "path": None if result.path is None else str(result.path)}
    if isinstance(result, ClassificationResult):
        record |= {"pred_label": result.index, "pred_class": result.label, "pred_score": result.score}
    elif isinstance(result, SegmentationResult):
        shares = result.shares
        record |= {"height": result.mask.shape[0], "width": result.mask.shape[1]}
        record |= {name: shares.get(name, 0.0) for name in present}
    return record | {f"{stage}_ms": ms for stage, ms in result.speed.items()}
