"""The object TensorRT 8 to 10 asks for INT8 ranges; it answers from a table, so that TensorRT needs no images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.calibration.table import CalibrationTable
from hrnet_deploy.calibration.tensorrt_cache import CacheAlgorithm, read_cache, write_cache
from hrnet_deploy.errors import ArtifactError, MissingDependencyError, UsageError

Upload = Callable[[NDArray[np.float32]], int]
"""Copies an array, float32 (n, 3, h, w), to the GPU and returns its address, valid until the next call."""

_BASES: Mapping[CacheAlgorithm, str] = {
    CacheAlgorithm.ENTROPY_2: "IInt8EntropyCalibrator2",
    CacheAlgorithm.MINMAX: "IInt8MinMaxCalibrator",
}


class Calibrator:
    """What TensorRT calls while it builds; `make_calibrator` joins it with TensorRT's own class.

    TensorRT's binding prints what these methods raise and goes on building (NVIDIA/TensorRT issue 3871). So they keep
    the exception instead; the builder calls `raise_if_failed` afterwards.

    Attributes:
        cache: the ranges, rendered for the running version; None where TensorRT finds them itself.
        written: the cache that TensorRT handed back, if it did.
        error: the first exception, if any.
    """

    def __init__(
        self, cache: bytes | None, batches: Iterable[NDArray[np.float32]] | None, upload: Upload | None, batch: int
    ) -> None:
        self.cache = cache
        self.written: bytes | None = None
        self.error: BaseException | None = None
        self._batches: Iterator[NDArray[np.float32]] | None = None if batches is None else iter(batches)
        self._upload = upload
        self._batch = batch

    def get_batch_size(self) -> int:
        """Images per batch, as TensorRT asks for it."""
        return self._batch

    def get_batch(self, names: list[str]) -> list[int] | None:
        """The next batch on the GPU.

        Args:
            names: the network's inputs.

        Returns:
            One device address, or None where there are no more batches or something failed; see `error`.
        """
        if self.error is not None:
            return None
        try:
            return self._next(list(names))
        except BaseException as error:  # noqa: BLE001 - Ctrl-C would be lost in the binding as well
            self.error = error
            return None

    def read_calibration_cache(self) -> bytes | None:
        """The ranges as TensorRT reads them; None makes it ask for batches."""
        return self.cache

    def write_calibration_cache(self, cache: Any) -> None:
        """Keep what TensorRT found.

        Args:
            cache: any bytes-like object; it is copied, for the memory is TensorRT's.
        """
        try:
            self.written = bytes(cache)
        except BaseException as error:  # noqa: BLE001 - as above
            self.error = self.error or error

    def raise_if_failed(self) -> None:
        """Raise what a callback met; to be called after the build, whether or not it returned an engine.

        Raises:
            ArtifactError: TensorRT did not accept the cache.
            UsageError: the network has other inputs, or a batch does not fit.
            Exception: whatever the batches or the upload raised.
        """
        if self.error is not None:
            raise self.error

    def _next(self, names: list[str]) -> list[int] | None:
        if self.cache is not None:
            # TensorRT says nothing when it skips a cache, and would calibrate on no images at all.
            raise ArtifactError(
                "TensorRT must accept the calibration cache, got a request for images instead."
                " Render the table for the running version and calibrator."
            )
        if self._batches is None or self._upload is None:
            return None
        if len(names) != 1:
            raise UsageError(f"network must have one input to calibrate it, got {len(names)}. Use a Q/DQ graph.")
        array = next(self._batches, None)
        # TensorRT reads a full batch whatever it is given, so a shorter last one is left out.
        if array is None or len(array) < self._batch:
            return None
        if len(array) > self._batch:
            raise UsageError(
                f"calibration batch must hold {self._batch} images, got {len(array)}. Make the two sizes equal."
            )
        return [int(self._upload(np.ascontiguousarray(array, np.float32)))]


def make_calibrator(
    trt: Any,
    ranges: CalibrationTable | Mapping[str, float] | str | None,
    batches: Iterable[NDArray[np.float32]] | None = None,
    upload: Upload | None = None,
    *,
    batch: int = 1,
    algorithm: CacheAlgorithm = CacheAlgorithm.ENTROPY_2,
) -> Calibrator:
    """Make a calibrator for `IBuilderConfig.int8_calibrator`.

    Args:
        trt: the imported `tensorrt` module.
        ranges: a table, amax by tensor name, or the text of a cache of any version, from which `read_calibration_cache`
            answers for the running version; None to let TensorRT calibrate on `batches`.
        batches: images, float32 (n, 3, h, w); not touched while there are ranges.
        upload: brings a batch to the GPU; it owns the memory. Needed with `batches` where there are no ranges.
        batch: images per batch; with dynamic shapes, the batch of the calibration profile's optimum.
        algorithm: ENTROPY_2 or MINMAX, the calibrator class to derive from.

    Returns:
        A `Calibrator` that is also an instance of TensorRT's class. Keep a reference to it until the build is done.

    Raises:
        MissingDependencyError: this TensorRT has no calibrators (11 and later, TensorRT-RTX).
        ArtifactError: the text is no cache.
        UsageError: ranges that a cache cannot hold, neither ranges nor batches, or another algorithm.
    """
    name = _BASES.get(CacheAlgorithm(algorithm))
    if name is None:
        raise UsageError(
            f"calibrator must be one of {', '.join(a.value for a in _BASES)}, got {algorithm}. Choose one."
        )
    version = str(getattr(trt, "__version__", "an unknown version"))
    base: Any = getattr(trt, name, None)
    if base is None:
        raise MissingDependencyError(
            f"implicit INT8 needs a TensorRT with {name}, got {version}. Use a Q/DQ graph (--qdq-target tensorrt),"
            " or: pip install --extra-index-url https://pypi.nvidia.com 'tensorrt-cu13<11'"
        )
    if ranges is None and (batches is None or upload is None):
        raise UsageError("calibrator needs ranges, or batches and an upload, got neither. Give a calibration table.")
    if batch < 1:
        raise UsageError(f"calibration batch must be positive, got {batch}. Use 1 or more.")
    cache = None if ranges is None else write_cache(_amax(ranges), version, algorithm).encode()

    # The base is missing from some versions of TensorRT, hence a class made here.
    class BoundCalibrator(Calibrator, base):  # type: ignore[misc, valid-type, unused-ignore]
        def __init__(self) -> None:
            base.__init__(self)  # the binding refuses an instance whose own part was never made
            Calibrator.__init__(self, cache, batches, upload, batch)

    return BoundCalibrator()


def _amax(ranges: CalibrationTable | Mapping[str, float] | str) -> Mapping[str, float]:
    if isinstance(ranges, CalibrationTable):
        return ranges.amax()
    return read_cache(ranges)[1] if isinstance(ranges, str) else ranges
