"""One row of the results: a prediction without its timing, so that equal inputs give equal bytes."""

from __future__ import annotations

from typing import Any

from hrnet_deploy.errors import ImageError, one_line
from hrnet_deploy.results import ClassificationResult, Result, SegmentationResult

Row = dict[str, Any]


def make_row(index: int, name: str, outcome: Result | ImageError, topk: int) -> Row:
    """Describe a prediction or an error in plain values.

    A row has `index` in the run and `name`, and either `error` or the keys of `Result.to_dict`: `pred_label`,
    `pred_score`, `pred_class` and the `topk` best `pred_labels` with `pred_scores`, or `height`, `width` and `shares`.
    """
    # A name that is not UTF-8 keeps its odd bytes as escapes.
    row: Row = {"index": index, "name": name.encode(errors="backslashreplace").decode()}
    if isinstance(outcome, ImageError):
        text = one_line(outcome).encode(errors="backslashreplace").decode()
        return row | {"error": text}
    if isinstance(outcome, ClassificationResult):
        best = {"pred_label": outcome.index, "pred_score": outcome.score, "pred_class": outcome.label}
        labels, scores = outcome.indices[:topk].tolist(), outcome.scores[:topk].tolist()
        return row | best | {"pred_labels": labels, "pred_scores": scores}
    if isinstance(outcome, SegmentationResult):
        height, width = outcome.mask.shape
        return row | {"height": height, "width": width, "shares": outcome.shares}
    raise TypeError(outcome)
