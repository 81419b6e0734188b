"""Calibration images as network input."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.calibration.image_selection import AnyPath
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.imaging.sources import OnError, read_frame
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import Preprocessing, Resize


class Batches:
    """Network input made from image files, as often as it is asked for; only one batch is in memory.

    Attributes:
        paths: the files, in order.
        batch: images per array, the last one may have fewer; 1 where every image has its own size.
    """

    def __init__(
        self, paths: Iterable[AnyPath], preprocessing: Preprocessing, batch: int, on_error: OnError | None = None
    ) -> None:
        """Check what is given; no file is read yet.

        Args:
            paths: image files.
            preprocessing: the card's own.
            batch: images per array.
            on_error: called with the name of each file that cannot be used, which is then skipped; None to raise.

        Raises:
            UsageError: no files, or a batch size that is not positive.
        """
        self.paths: Sequence[Path] = tuple(Path(path) for path in paths)
        if not self.paths:
            raise UsageError("calibration needs at least one image, got none. Check the folder or the list.")
        if batch < 1:
            raise UsageError(f"calibration batch must be positive, got {batch}. Use 1 or more.")
        sizes_vary = preprocessing.size_hw is None or preprocessing.resize is Resize.LONG_SIDE
        self.batch = 1 if sizes_vary else batch
        self._preprocess = Preprocessor(preprocessing)
        self._on_error = on_error

    def __len__(self) -> int:
        """Number of arrays; fewer come where files are skipped."""
        return math.ceil(len(self.paths) / self.batch)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """As `from_index(0)`."""
        return self.from_index(0)

    def from_index(self, start: int) -> Iterator[NDArray[np.float32]]:
        """The arrays from that index on, the same at every call.

        Args:
            start: arrays to leave out.

        Yields:
            float32 (n, 3, h, w), a new array each, n at most `batch`.

        Raises:
            ImageError: a file cannot be decoded or has a size that does not fit, its name first; or none can be used.
            MissingFileError: a file is gone.
            UsageError: start is negative.
        """
        if start < 0:
            raise UsageError(f"first batch must not be negative, got {start}. Use 0 for all.")
        # Which images a later array holds depends on those skipped before it, so they are looked for again.
        first = 0 if self._on_error else start * self.batch
        pending: list[NDArray[np.float32]] = []
        index = first // self.batch
        for path in self.paths[first:]:
            planes = self._planes(path)
            if planes is None:
                continue
            pending.append(planes)
            if len(pending) == self.batch:
                if index >= start:
                    yield np.stack(pending)
                index += 1
                pending = []
        if pending and index >= start:
            yield np.stack(pending)
        if not pending and index == 0 and first == 0:
            raise ImageError(
                f"calibration needs an image that can be used, got {len(self.paths)} that cannot. Check the files."
            )

    def _planes(self, path: Path) -> NDArray[np.float32] | None:
        try:
            frame = read_frame(path)
            try:
                return self._preprocess(frame.image)
            except ImageError as error:  # of the size; it does not know the file
                raise ImageError(f"{path}: {error}") from error
        except (ImageError, MissingFileError) as error:
            if self._on_error is None:
                raise
            self._on_error(str(path), error if isinstance(error, ImageError) else ImageError(str(error)))
            return None
