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
from hrnet_deploy.calibration.histogram import Histogram
from hrnet_deploy.errors import ArtifactError, HrnetDeployError, UsageError
from hrnet_deploy.protocols import Engine
from hrnet_deploy.system.progress import bar

BatchSource = Callable[[int], Iterable[NDArray[np.float32]]]
"""Returns the batches from an index on, the same ones at every call."""

_LOG = logging.getLogger(__name__)
_SAVE_EVERY_BATCHES = 32
_FIELDS = ("counts", "zeros", "range")
_DAMAGED = (ArtifactError, KeyError, TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


class _Progress:
    """Histograms of the finished batches, saved to and restored from one file."""

    def __init__(self, tensors: Iterable[str], path: Path | None, key: str) -> None:
        self.histograms = {tensor: Histogram() for tensor in tensors}
        self.batches = 0
        self.images = 0
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

    def save_at_intervals(self) -> None:
        if self.batches % _SAVE_EVERY_BATCHES == 0:
            self._save()

    def save_before_exit(self) -> None:
        """Save without raising: another exception is on its way."""
        if self._consistent and self.batches:
            try:
                self._save()
            except HrnetDeployError as error:
                _LOG.warning("what is finished is lost: %s", error)

    def delete(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        if self._path is None:
            return
        arrays: dict[str, Any] = {
            "key": np.array(self._key),
            "tensors": np.array(list(self.histograms), np.str_),
            "done": np.array([self.batches, self.images], np.int64),
        }
        for index, histogram in enumerate(self.histograms.values()):
            arrays.update({f"{field}.{index}": array for field, array in histogram.to_arrays().items()})
        # NumPy would append .npz to a file name, so it gets a stream.
        with atomic_output(self._path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)

    def _restore(self, path: Path) -> None:
        if path.is_dir():
            raise UsageError(f"calibration state must be a file, got the folder {path}. Add a file name.")
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as saved:
                if saved["key"].item() != self._key or saved["tensors"].tolist() != list(self.histograms):
                    _LOG.info("calibration state %s belongs to another run; starting afresh", path)
                    return
                histograms = {
                    tensor: Histogram.from_arrays({field: saved[f"{field}.{index}"] for field in _FIELDS})
                    for index, tensor in enumerate(self.histograms)
                }
                batches, images = saved["done"].tolist()
        except _DAMAGED as error:
            _LOG.warning("calibration state must be whole, got %s (%s). Starting afresh.", path, error)
            return
        self.histograms, self.batches, self.images = histograms, batches, images


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
        outputs: from graph output (float32, any shape) to the name of the tensor it exposes.
        batches: the images, float32 in the shape of the input; called once, with the number of batches that an
            interrupted run has finished.
        images: number of images, for the progress bar.
        state: file of the finished batches. It is written every 32 batches and when the run ends early; a run with the
            same key continues from it. Deleted on success.
        key: digest of everything the histograms depend on: graph, images, preprocessing.

    Returns:
        One histogram per tensor, in the order of the outputs.

    Raises:
        UsageError: an output that the graph does not have, a batch that does not fit it, or no batch; or a tensor holds
            NaN or an infinity, and the message names it.
        DeviceError: the runtime failed.
        Exception: whatever `batches` raises.
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
    progress.delete()
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
                progress.save_at_intervals()
            named = {tensor: values[output] for output, tensor in outputs.items()}
            counting = worker.submit(progress.add, named, len(batch))
            shown.update(len(batch))
        if counting is not None:
            counting.result()
