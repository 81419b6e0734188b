"""The object that TensorRT 8 to 10 calls for INT8 ranges; it returns a cache, so that TensorRT needs no images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hrnet_deploy.calibration.tensorrt_cache import write_cache
from hrnet_deploy.errors import ArtifactError, MissingDependencyError

_BASE = "IInt8EntropyCalibrator2"


class Calibrator:
    """The callbacks of a TensorRT build; `make_calibrator` joins them with TensorRT's own class.

    TensorRT's binding prints what these methods raise and goes on building (NVIDIA/TensorRT issue 3871). So the first
    error is stored instead, and the builder calls `raise_if_failed` afterwards.

    Attributes:
        cache: the ranges, rendered for the running version.
    """

    def __init__(self, cache: bytes) -> None:
        self.cache = cache
        self._error: ArtifactError | None = None

    def get_batch_size(self) -> int:
        """Return the number of images per batch."""
        return 1

    def get_batch(self, names: list[str]) -> None:  # noqa: ARG002 - TensorRT's signature
        """Record that TensorRT skipped the cache: it does so silently, and would calibrate on no images."""
        self._error = ArtifactError(
            "TensorRT must accept the calibration cache, got a request for images instead."
            " Render the table for the running version and calibrator."
        )

    def read_calibration_cache(self) -> bytes:
        """Return the ranges."""
        return self.cache

    def write_calibration_cache(self, cache: Any) -> None:
        """Ignore the cache that TensorRT computed."""

    def raise_if_failed(self) -> None:
        """Raise the stored error; call it after the build, with or without an engine.

        Raises:
            ArtifactError: TensorRT did not accept the cache.
        """
        if self._error is not None:
            raise self._error


def make_calibrator(trt: Any, amax: Mapping[str, float]) -> Calibrator:
    """Create a calibrator for `IBuilderConfig.int8_calibrator`.

    Args:
        trt: the imported `tensorrt` module.
        amax: by tensor name, the magnitude mapped to code 127.

    Returns:
        A `Calibrator` that is also an instance of TensorRT's class. Keep a reference to it until the build is done.

    Raises:
        MissingDependencyError: this TensorRT has no calibrators (11 and later, TensorRT-RTX).
        UsageError: ranges that a cache cannot hold.
    """
    version = str(getattr(trt, "__version__", "an unknown version"))
    base: Any = getattr(trt, _BASE, None)
    if base is None:
        raise MissingDependencyError(
            f"implicit INT8 needs a TensorRT with {_BASE}, got {version}. Use a Q/DQ graph (--qdq-target tensorrt),"
            " or: pip install --extra-index-url https://pypi.nvidia.com 'tensorrt-cu13<11'"
        )
    cache = write_cache(amax, version).encode()

    # Some versions of TensorRT lack the base, so the class is created here.
    class BoundCalibrator(Calibrator, base):  # type: ignore[misc, valid-type, unused-ignore]
        def __init__(self) -> None:
            base.__init__(self)  # the binding refuses an instance whose own part was never initialized
            Calibrator.__init__(self, cache)

    return BoundCalibrator()
