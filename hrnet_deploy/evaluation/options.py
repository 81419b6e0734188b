"""The options of an evaluation, declared once for `evaluate`, `compare` and `build_report`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation.sliding_window import OVERLAP, SlidingWindow
from hrnet_deploy.limits import BATCH, THREADS


class EvaluationKeywords(TypedDict, total=False):
    """Names and types of the options for type checkers; `EvaluationOptions` has their meaning and defaults."""

    labels: str | Path | None
    split: str | None
    limit: int | None
    label_values: Sequence[int] | None
    ignore_label: int | None
    batch: int
    workers: int | None
    window: tuple[int, int] | None
    overlap: float
    device: str
    backend: str
    threads: int | None
    journal: str | Path | None
    executor: str | Executor | None


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of an evaluation.

    Attributes:
        labels: label file of an image folder.
        split: subfolder to use if there are several; None for "val" if it exists.
        limit: number of images, spread evenly; None for all.
        label_values: value of each class in label images, in the order of the classes, such as (0, 255); None for
            0, 1, 2, ....
        ignore_label: value in label images that no metric counts, in addition to 255.
        batch: images per inference.
        workers: threads that read and count, in each worker of an executor; None to suit the machine.
        window: (height, width) of sliding windows over images at their own size; None to resize each image to the
            model's size.
        overlap: share of a window that its neighbor covers too.
        device: for a path, as for Predictor.
        backend: for a path, as for Predictor.
        threads: for a path, CPU threads of the runtime, in each worker of an executor; None for all cores, divided
            among the workers of a machine.
        journal: folder that stores predictions, so that an interrupted run resumes; None for none.
        executor: where chunks of images run, as for `open_executor`: "processes:4", "ray://HOST:PORT",
            "dask://HOST:PORT", or an executor object; results do not depend on it. None for this process.
    """

    labels: str | Path | None = None
    split: str | None = None
    limit: int | None = None
    label_values: Sequence[int] | None = None
    ignore_label: int | None = None
    batch: int = 1
    workers: int | None = None
    window: tuple[int, int] | None = None
    overlap: float = OVERLAP
    device: str = "auto"
    backend: str = "auto"
    threads: int | None = None
    journal: str | Path | None = None
    executor: str | Executor | None = None

    @functools.cached_property
    def sliding(self) -> SlidingWindow | None:
        """Windows over images at their own size; None to resize images to the model's size."""
        return None if self.window is None else SlidingWindow.with_overlap(self.window, self.overlap)

    def __post_init__(self) -> None:
        _ = self.sliding  # an invalid window is an error before any model is opened
        for name, value, most in (("batch", self.batch, BATCH), ("workers", self.workers, THREADS)):
            if value is not None and not 1 <= value <= most:
                raise UsageError(f"{name} must be 1 to {most}, got {value}. Leave it out for the default.")
