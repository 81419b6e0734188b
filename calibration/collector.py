"""One pass of images through a graph: a histogram of every tensor that will be quantized."""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.calibration.histogram import BINS, Histogram
from hrnet_deploy.calibration.saved_arrays import read_arrays
from hrnet_deploy.errors import HrnetDeployError, UsageError, one_line
from hrnet_deploy.protocols import Engine
from hrnet_deploy.system.progress import bar

BatchSource = Callable[[int], Iterable[NDArray[np.float32]]]
"""Returns the batches from an index on, the same ones at every call."""

_LOG = logging.getLogger(__name__)
_SAVE_EVERY_BATCHES = 32
_DAMAGED = (
    *(ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError, EOFError, OSError, SyntaxError),
    *(MemoryError, NotImplementedError, RecursionError, RuntimeError, zipfile.BadZipFile, zlib.error),
)


class _Progress:
    """Histograms of the finished batches, saved to and restored from one file."""

    def __init__(self, tensors: Iterable[str], path: Path | None, key: str) -> None:
        self.histograms = {tensor: Histogram() for tensor in tensors}
        self.batches = self.images = 0
        self._path = path
        self._key = key
        self._consistent = True  # false while only some histograms hold the current batch
        if path is not None and path.exists():
            self._restore(path)

    def add(self, values: Mapping[str, NDArray[Any]], images: int) -> None:
        self._consistent = False
        for tensor, histogram in self.histograms.items():
            histogram.add(values[tensor], tensor)
        self.batches += 1
        self.images += images
        self._consistent = True

    def save_before_exit(self) -> None:
        """Save without raising: another exception is on its way."""
        if self._consistent and self.batches:
            try:
                self.save()
            except HrnetDeployError as error:
                _LOG.warning("what is finished is lost: %s", error)

    def save(self) -> None:
        if self._path is None:
            return
        histograms = self.histograms.values()
        # NumPy would append .npz to a file name, so it gets a stream.
        with atomic_output(self._path) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                key=np.array(self._key),
                tensors=np.array(list(self.histograms), np.str_),
                done=np.array([self.batches, self.images], np.int64),
                counts=np.array([h.counts for h in histograms], np.int64),
                ranges=np.array([(h.limit, h.low, h.high, h.zeros) for h in histograms], np.float64),
            )

    def _restore(self, path: Path) -> None:
        if path.is_dir():
            raise UsageError(f"calibration state must be a file, got the folder {path}. Add a file name.")
        try:
            saved = read_arrays(path)
            if saved["key"].item() != self._key or saved["tensors"].tolist() != list(self.histograms):
                _LOG.info("calibration state %s belongs to another run; starting afresh", path)
                return
            (batches, images), counts, ranges = saved["done"].tolist(), saved["counts"].copy(), saved["ranges"]
            _check_restored(batches, images, counts, ranges)
            rows = zip(self.histograms, ranges.tolist(), counts, strict=True)
            histograms = {
                tensor: Histogram(limit, low, high, int(zeros), counted)
                for tensor, (limit, low, high, zeros), counted in rows
            }
        except _DAMAGED as error:
            _LOG.warning("calibration state must be whole, got %s (%s). Starting afresh.", path, one_line(error, 200))
            return
        self.histograms, self.batches, self.images = histograms, batches, images


def _check_restored(batches: Any, images: Any, counts: NDArray[Any], ranges: NDArray[Any]) -> None:
    """Refuse values that no run saves."""
    if counts.dtype != np.int64 or counts.shape[1:] != (BINS,):
        raise ValueError("counts of another form")
    if type(batches) is not int or type(images) is not int or min(batches, images, counts.min(initial=0)) < 0:
        raise ValueError("negative counts")
    if ranges.dtype != np.float64 or ranges.shape[1:] != (4,) or np.isnan(ranges).any():
        raise ValueError("ranges of another form")
    limits, zeros = ranges[:, 0], ranges[:, 3]
    powers = np.frexp(limits)[0]
    if not np.isfinite(ranges[:, [0, 3]]).all() or (zeros < 0).any() or not np.isin(powers, (0.0, 0.5)).all():
        raise ValueError("ranges of another form")


def collect(
    engine: Engine,
    outputs: Mapping[str, str],
    batches: BatchSource,
    *,
    images: int | None = None,
    state: Path | None = None,
    key: str = "",
) -> dict[str, Histogram]:
    """Run the graph once per batch and count the values of its outputs, in constant memory.

    Args:
        engine: a graph with one input.
        outputs: from graph output (float32) to the name of the tensor it exposes.
        batches: the images, float32 in the shape of the input; called once, with the number of batches that an
            interrupted run has finished.
        images: number of images, for the progress bar.
        state: file of the finished batches. It is written every 32 batches and when the run ends early; a run with the
            same key continues from it. Deleted on success.
        key: digest of everything the histograms depend on: graph, images, preprocessing.

    Raises:
        UsageError: an output that the graph does not have, a batch that does not fit it, or no batch; or a tensor holds
            NaN or an infinity, and the message names it.
        Exception: whatever the engine and `batches` raise.
    """
    unknown = outputs.keys() - {spec.name for spec in engine.outputs}
    if unknown:
        raise UsageError(f"tap must be an output of the graph, got '{min(unknown)}'. Add it to the graph's outputs.")
    progress = _Progress(outputs.values(), state, key)
    try:
        _count(engine, outputs, batches, progress, images)
    except BaseException:
        progress.save_before_exit()
        raise
    if not progress.images:
        raise UsageError("calibration needs at least one image, got none. Check the folder or the list.")
    if state is not None:
        state.unlink(missing_ok=True)
    return progress.histograms


def _count(
    engine: Engine, outputs: Mapping[str, str], batches: BatchSource, progress: _Progress, images: int | None
) -> None:
    """Run the batches; a worker thread counts each one while the engine computes the next."""
    (entry,) = (spec.name for spec in engine.inputs)
    # Signals reach only the main thread, so the worker also finishes its batch after Ctrl-C.
    with (
        bar(total=images, initial=progress.images, unit="img", desc="calibrating") as shown,
        ThreadPoolExecutor(1, thread_name_prefix="histograms") as worker,
    ):
        counting: Future[None] | None = None
        for batch in batches(progress.batches):
            values = engine.run({entry: batch})
            if counting is not None:
                counting.result()
                if progress.batches % _SAVE_EVERY_BATCHES == 0:
                    progress.save()
            named = {tensor: values[output] for output, tensor in outputs.items()}
            counting = worker.submit(progress.add, named, len(batch))
            shown.update(len(batch))
        if counting is not None:
            counting.result()
