"""TensorRT's calibration cache: the text that lets TensorRT 8 to 10 build INT8 without images."""

from __future__ import annotations

import enum
import math
import re
import struct
from collections.abc import Mapping

from hrnet_deploy.calibration.thresholds import FLOOR
from hrnet_deploy.errors import ArtifactError, UsageError

_LEVELS = 127
"""Largest code of symmetric int8. (Public writers that store 127 / amax have the ratio upside down.)"""
_HEADER = re.compile(r"TRT-(\d+)-(\w+)")
_LINE = re.compile(r"(.+): ([0-9a-fA-F]{1,8})", re.DOTALL)  # greedy: a name may hold ": " itself
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:\D.*)?")
_FIRST_MAJOR = 5
_LAST_MAJOR = 10


class CacheAlgorithm(str, enum.Enum):
    """Which calibrator class reads a cache; TensorRT ignores a cache made for another."""

    ENTROPY_2 = "EntropyCalibration2"
    """`IInt8EntropyCalibrator2`, the one to prefer: it scales before layers are fused, on any GPU."""
    MINMAX = "MinMaxCalibration"
    """`IInt8MinMaxCalibrator`."""
    ENTROPY = "EntropyCalibration"
    """`IInt8EntropyCalibrator`; for reading caches of others."""


def version_number(version: str) -> int:
    """The number by which a cache names the TensorRT it is for.

    Args:
        version: `tensorrt.__version__`, such as "8.6.1" or "10.13.0.35".

    Returns:
        8601, 101300.

    Raises:
        UsageError: not a version, or one whose TensorRT has no calibrators.

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


def write_cache(
    amax: Mapping[str, float], version: str, algorithm: CacheAlgorithm = CacheAlgorithm.ENTROPY_2, floor: float = FLOOR
) -> str:
    """Render ranges as TensorRT's calibration cache.

    Args:
        amax: by tensor name in the graph that TensorRT will parse, the magnitude mapped to code 127; 0 or more.
        version: `tensorrt.__version__` of the reader; another one recalibrates instead.
        algorithm: the calibrator class that will read it.
        floor: smallest amax written. A scale of 0 ends in `Assertion getter(i) != 0 failed` since TensorRT 8.5.

    Returns:
        A header and one line `name: hex` per tensor, hex being the big-endian float32 amax / 127.

    Raises:
        UsageError: no tensors, a name or a number that the text cannot hold, or a version without calibrators.

    Source: caches that TensorRT 8.4 to 10 wrote; NVIDIA/TensorRT issues 3020 and 4446 for the floor.
    """
    header = f"TRT-{version_number(version)}-{CacheAlgorithm(algorithm).value}"
    if not amax:
        raise UsageError("a calibration cache must hold tensors, got none. Calibrate first.")
    if not (math.isfinite(floor) and floor > 0 and _bits(floor).strip("0")):
        raise UsageError(f"the smallest amax must be positive, got {floor}. Use {FLOOR}.")
    lines = [header]
    for name, value in amax.items():
        if not name or "\n" in name or "\r" in name:
            raise UsageError(f"a tensor's name must be one line of text, got {name!r:.80}. Rename it in the graph.")
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(f"amax of tensor '{name}' must be finite and not negative, got {value}. Calibrate again.")
        lines.append(f"{name}: {_bits(max(value, floor), name)}")
    return "\n".join(lines) + "\n"


def read_cache(text: str | bytes) -> tuple[str, dict[str, float]]:
    """Read TensorRT's calibration cache, whoever wrote it.

    Args:
        text: the file's content.

    Returns:
        The first line, such as "TRT-101300-EntropyCalibration2", and amax by tensor name in the file's order; 0.0 where
        TensorRT wrote a scale of 0.

    Raises:
        ArtifactError: not such a cache, or a damaged line, which is named by its number.
    """
    lines = _lines(text)
    header = _HEADER.fullmatch(lines[0])
    tails = [algorithm.value for algorithm in CacheAlgorithm]
    if header is None or header[2] not in tails:
        raise ArtifactError(
            f"calibration cache must begin with TRT-<version>-{'|'.join(tails)}, got {lines[0]!r:.60}. Calibrate again."
        )
    amax: dict[str, float] = {}
    for number, line in enumerate(lines[1:], start=2):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ArtifactError(
                f"calibration cache, line {number}, must be 'name: hex digits', got {line!r:.60}. Calibrate again."
            )
        name, digits = match.groups()
        (scale,) = struct.unpack(">f", bytes.fromhex(digits.zfill(8)))
        if not (math.isfinite(scale) and math.copysign(1, scale) > 0):
            raise ArtifactError(
                f"calibration cache, line {number}, must have a finite positive scale, got {scale}. Calibrate again."
            )
        if name in amax:
            raise ArtifactError(
                f"calibration cache, line {number}, must name another tensor, got '{name:.60}' again. Calibrate again."
            )
        amax[name] = scale * _LEVELS
    if not amax:
        raise ArtifactError("calibration cache must hold tensors, got a header alone. Calibrate again.")
    return lines[0], amax


def _lines(text: str | bytes) -> list[str]:
    try:
        content = text if isinstance(text, str) else bytes(text).decode()
    except UnicodeDecodeError as error:
        raise ArtifactError("calibration cache must be UTF-8 text, got other bytes. Calibrate again.") from error
    # Not splitlines(), which would also cut a name at U+2028 and the like.
    return [line.removesuffix("\r") for line in content.rstrip("\r\n").split("\n")]


def _bits(amax: float, name: str = "") -> str:
    try:
        return struct.pack(">f", amax / _LEVELS).hex()
    except OverflowError as error:
        raise UsageError(f"amax of tensor '{name}' must fit float32, got {amax}. Check the calibration.") from error
