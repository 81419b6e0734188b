"""Calibration images as network input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.calibration.image_selection import AnyPath
from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import Preprocessing, Resize


class Batches:
    """Network input read from image files; re-iterable, with one batch in memory."""

    def __init__(self, paths: Iterable[AnyPath], preprocessing: Preprocessing, batch: int) -> None:
        """Take at least one file; none is read yet. `batch` is ignored where every image has its own size."""
        self._paths = tuple(Path(path) for path in paths)
        if not self._paths:
            raise UsageError("calibration needs at least one image, got none. Check the folder or the list.")
        sizes_vary = preprocessing.size_hw is None or preprocessing.resize is Resize.LONG_SIDE
        self._batch = 1 if sizes_vary else batch
        self._preprocess = Preprocessor(preprocessing)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return self.from_index(0)

    def from_index(self, start: int) -> Iterator[NDArray[np.float32]]:
        """Read the arrays from one index on; every call reads the same ones.

        Yields:
            float32 (n, 3, h, w), a new array each; the last one may hold fewer images.

        Raises:
            ImageError: a file cannot be decoded, or its size does not fit; the message names the file.
            MissingFileError: a file is gone.
        """
        for first in range(start * self._batch, len(self._paths), self._batch):
            yield np.stack([self._planes(path) for path in self._paths[first : first + self._batch]])

    def _planes(self, path: Path) -> NDArray[np.float32]:
        frame = read_frame(path)
        try:
            return self._preprocess(frame.image)
        except ImageError as error:  # the preprocessor does not know the file
            raise ImageError(f"{path}: {error}") from error
