"""TensorRT's calibration cache, with which TensorRT 8 to 10 build INT8 without images, and its calibrator."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from typing import Any

from hrnet_deploy.calibration.thresholds import FLOOR
from hrnet_deploy.errors import ArtifactError, MissingDependencyError, UsageError

_MAX_CODE = 127
"""Largest code of symmetric int8. (Public writers that store 127 / amax have the ratio upside down.)"""
_BASE = "IInt8EntropyCalibrator2"
_ALGORITHM = "EntropyCalibration2"
"""The cache of `IInt8EntropyCalibrator2`; TensorRT ignores a cache of another calibrator."""
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:\D.*)?")
_FIRST_MAJOR, _LAST_MAJOR = 5, 10


def version_number(version: str) -> int:
    """Compute the number by which a cache names its TensorRT version.

    Args:
        version: `tensorrt.__version__`, such as "8.6.1" or "10.13.0.35".

    Returns:
        8601, 101300.

    Raises:
        UsageError: not a version, or one without calibrators.

    Source: NV_TENSORRT_VERSION in NvInfer.h: major * 1000 up to TensorRT 9, major * 10000 from 10 on.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise UsageError(f"TensorRT's version must read like 10.13.0, got '{version}'. Give tensorrt.__version__.")
    major, minor, patch = (int(part or 0) for part in match.groups())
    if not _FIRST_MAJOR <= major <= _LAST_MAJOR:
        raise UsageError(
            f"a calibration cache needs TensorRT {_FIRST_MAJOR} to {_LAST_MAJOR}, got {version}."
            " Use a Q/DQ graph instead (--qdq-target tensorrt)."
        )
    return major * (10000 if major >= 10 else 1000) + minor * 100 + patch


def write_cache(amax: Mapping[str, float], version: str) -> str:
    """Render ranges as TensorRT's calibration cache.

    Args:
        amax: by tensor name in the graph that TensorRT will parse, the magnitude mapped to code 127; 0 or more.
            Smaller ones than `thresholds.FLOOR` are raised to it.
        version: `tensorrt.__version__` of the reader; another one recalibrates instead.

    Returns:
        A header and one line `name: hex` per tensor; hex is the big-endian float32 amax / 127.

    Raises:
        UsageError: no tensors, a name or a number that the text cannot hold, or a version without calibrators.

    Source: caches that TensorRT 8.4 to 10 wrote; NVIDIA/TensorRT issues 3020 and 4446 for the floor.
    """
    if not amax:
        raise UsageError("a calibration cache must hold tensors, got none. Calibrate first.")
    lines = [f"TRT-{version_number(version)}-{_ALGORITHM}"]
    for name, value in amax.items():
        if not name or "\n" in name or "\r" in name:
            raise UsageError(f"a tensor's name must be one line of text, got {name!r:.80}. Rename it in the graph.")
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(f"amax of tensor '{name}' must be finite and not negative, got {value}. Calibrate again.")
        try:
            scale = struct.pack(">f", max(value, FLOOR) / _MAX_CODE)
        except OverflowError as error:
            raise UsageError(
                f"amax of tensor '{name}' must fit float32, got {value}. Check the calibration."
            ) from error
        lines.append(f"{name}: {scale.hex()}")
    return "\n".join(lines) + "\n"


def make_calibrator(trt: Any, amax: Mapping[str, float]) -> Any:
    """Create a calibrator for `IBuilderConfig.int8_calibrator`, which returns a cache: TensorRT needs no images.

    TensorRT's binding prints what a calibrator raises and goes on building (NVIDIA/TensorRT issue 3871). So the error
    is stored instead, and the builder calls `raise_if_failed` afterwards.

    Args:
        trt: the imported `tensorrt` module.
        amax: by tensor name, the magnitude mapped to code 127.

    Returns:
        An instance of TensorRT's class. Keep a reference to it until the build is done.

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
    content = write_cache(amax, version).encode()

    class Calibrator(base):  # type: ignore[misc]
        skipped = False

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> None:  # noqa: ARG002 - TensorRT's signature
            # TensorRT skips a cache silently, and would calibrate on no images.
            self.skipped = True

        def read_calibration_cache(self) -> bytes:
            return content

        def write_calibration_cache(self, cache: Any) -> None:
            pass

        def raise_if_failed(self) -> None:
            if self.skipped:
                raise ArtifactError(
                    "TensorRT must accept the calibration cache, got a request for images instead."
                    " Render the table for the running version and calibrator."
                )

    return Calibrator()
