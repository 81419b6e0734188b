"""One pass of images through a tapped graph: a histogram for every tensor that will be quantised."""

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

Batches = Callable[[int], Iterable[NDArray[np.float32]]]
"""Gives the batches from that index on, always the same ones; `lambda start: batches[start:]` makes one of a list."""

_LOG = logging.getLogger(__name__)
_SAVE_EVERY_BATCHES = 32
_FIELDS = ("counts", "zeros", "range")


class _Tally:
    """What is finished: histograms that all hold the same batches, and how many those are."""

    def __init__(self, tensors: Iterable[str]) -> None:
        self.histograms = {tensor: Histogram() for tensor in tensors}
        self.batches = 0
        self.images = 0
        self.whole = True

    def add(self, values: Mapping[str, NDArray[Any]], images: int) -> None:
        self.whole = False
        for tensor, histogram in self.histograms.items():
            histogram.add(values[tensor], tensor)
        self.batches += 1
        self.images += images
        self.whole = True

    def save(self, path: Path, key: str) -> None:
        arrays: dict[str, Any] = {
            "key": np.array(key),
            "tensors": np.array(list(self.histograms), np.str_),
            "done": np.array([self.batches, self.images], np.int64),
        }
        for index, histogram in enumerate(self.histograms.values()):
            arrays.update({f"{field}.{index}": array for field, array in histogram.to_arrays().items()})
        # A stream: given a name, numpy would append .npz to it.
        with atomic_output(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)

    @classmethod
    def resumed(cls, path: Path | None, key: str, tensors: Iterable[str]) -> _Tally:
        tally = cls(tensors)
        if path is None or not path.exists():
            return tally
        if path.is_dir():
            raise UsageError(f"calibration state must be a file, got the folder {path}. Add a file name.")
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as saved:
                if saved["key"].item() != key or saved["tensors"].tolist() != list(tally.histograms):
                    _LOG.info("calibration state %s belongs to another run; starting afresh", path)
                    return tally
                histograms = {
                    tensor: Histogram.from_arrays({field: saved[f"{field}.{index}"] for field in _FIELDS})
                    for index, tensor in enumerate(tally.histograms)
                }
                batches, images = saved["done"].tolist()
        except (
            ArtifactError,
            KeyError,
            TypeError,
            ValueError,
            EOFError,
            OSError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            _LOG.warning("calibration state must be whole, got %s (%s). Starting afresh.", path, error)
            return tally
        tally.histograms, tally.batches, tally.images = histograms, batches, images
        return tally


def collect(
    engine: Engine,
    taps: Mapping[str, str],
    batches: Batches,
    *,
    images: int | None = None,
    state: Path | None = None,
    key: str = "",
) -> dict[str, Histogram]:
    """Run the graph once per batch and count what every tap gives; memory does not grow with the number of images.

    Args:
        engine: the tapped graph, with one input.
        taps: from graph output (float32, any shape) to the name of the tensor it shows.
        batches: the images, float32 in the shape the graph takes, batch first; called once, with the number of batches
            that an interrupted run has finished.
        images: how many there are in all, for the progress bar.
        state: file for what is finished, written whole every 32 batches and when the run ends early; it continues from
            there if the key is the same and starts afresh if it is not. Deleted on success.
        key: digest of all that the result depends on: graph, images, preprocessing.

    Returns:
        One histogram per tensor, by tensor name, in the order of the taps.

    Raises:
        UsageError: a tap the graph does not have, a batch that does not fit it, or no batch at all; or a tensor holds
            NaN or an infinity, and the message names it.
        DeviceError: the runtime failed.
        Exception: whatever `batches` raises, as it is.
    """
    (entry,) = (spec.name for spec in engine.inputs)
    unknown = taps.keys() - {spec.name for spec in engine.outputs}
    if unknown:
        raise UsageError(f"tap must be an output of the graph, got '{min(unknown)}'. Add it to the graph's outputs.")
    tally = _Tally.resumed(state, key, taps.values())
    try:
        # Signals reach only the main thread, so a batch that the worker began it also finishes, Ctrl-C or not.
        with (
            bar(total=images, initial=tally.images, unit="img", desc="calibrating") as progress,
            ThreadPoolExecutor(1, thread_name_prefix="histograms") as worker,
        ):
            counting: Future[None] | None = None
            for batch in batches(tally.batches):
                outputs = engine.run({entry: batch})
                if counting is not None:
                    counting.result()
                    if state is not None and tally.batches % _SAVE_EVERY_BATCHES == 0:
                        tally.save(state, key)
                named = {tensor: outputs[tap] for tap, tensor in taps.items()}
                counting = worker.submit(tally.add, named, len(batch))
                progress.update(len(batch))
            if counting is not None:
                counting.result()
    except BaseException:
        if state is not None and tally.whole and tally.batches:
            try:
                tally.save(state, key)
            except HrnetDeployError as error:
                _LOG.warning("what is finished is lost: %s", error)
        raise
    if not tally.images:
        raise UsageError("calibration needs at least one image, got none. Check the folder or the list.")
    if state is not None:
        state.unlink(missing_ok=True)
    return tally.histograms
