"""The calibration table: the ranges that one pass of images found for every tensor, as one JSON file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.calibration.histogram import Histogram
from hrnet_deploy.calibration.thresholds import METHODS
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError, one_line
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import JSON_FILE_BYTES
from hrnet_deploy.qdq_plan import ActivationRange
from hrnet_deploy.system.regular_file import read_regular

SCHEMA = 1
"""Version of the JSON; another one is refused."""
_KIND = "hrnet-deploy calibration table"
_AGAIN = "Calibrate again."
QUANTILES = 16
"""Entries of a tensor's histogram summary."""
RESIDUAL_INPUT_SHARE = 0.75
"""Share of the negative range that the input of a residual sum keeps; a ReLU after the sum hides most of the rest."""


@dataclass(frozen=True)
class TensorRange:
    """The values seen of one tensor.

    Attributes:
        amax: by method, the magnitude that is mapped to the last code; positive.
        zeros: number of values that are exactly zero.
        quantiles: magnitudes below which 1/16, 2/16, ... 16/16 of all values lie.
    """

    low: float
    high: float
    amax: Mapping[str, float]
    count: int
    zeros: int
    quantiles: tuple[float, ...]

    @classmethod
    def measured(cls, histogram: Histogram, amax: Mapping[str, float]) -> TensorRange:
        """Summarize a histogram; `amax` is by method. An empty histogram raises UsageError."""
        if not histogram.count:
            raise UsageError("a histogram must hold values, got none. Give calibration images.")
        running = np.cumsum(histogram.counts)
        ranks = running[-1] * np.arange(1, QUANTILES + 1) / QUANTILES
        edges = (np.searchsorted(running, ranks) + 1) * histogram.width
        quantiles = tuple(float(v) for v in np.minimum(edges, histogram.absmax))
        return cls(histogram.low, histogram.high, amax, histogram.count, histogram.zeros, quantiles)

    def clipped(self, amax: float, *, residual_input: bool = False) -> ActivationRange:
        """Return the range that the codes must cover, which contains zero.

        Args:
            amax: the threshold. It exceeds all values seen only if it is `thresholds.FLOOR`, which then holds.
            residual_input: whether the value only enters a sum before a ReLU.
        """
        if amax > max(-self.low, self.high):  # a smaller range would give a scale that the floor exists to prevent
            return ActivationRange(-amax if self.low < 0 else 0.0, amax)
        low, high = max(min(self.low, 0.0), -amax), min(max(self.high, 0.0), amax)
        return ActivationRange(RESIDUAL_INPUT_SHARE * low if residual_input else low, high)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a table depends on.

    Attributes:
        graph_sha256: digest of the float32 graph, weights and structure.
        image_list_sha256: digest of the images, from `image_selection.image_list_hash`.
        images: number of images.
        preprocessing: from the card, converted to plain JSON values.
        versions: by package, for packages that affect the numbers.
    """

    graph_sha256: str
    image_list_sha256: str
    images: int
    preprocessing: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CalibrationTable:
    """Ranges of every tensor by every method; all INT8 graphs and caches derive from it.

    Attributes:
        method: the one in use.
        scores: by method, from the automatic choice, higher is better; empty where the user chose.
    """

    tensors: Mapping[str, TensorRange]
    method: str
    provenance: Provenance
    scores: Mapping[str, float] = field(default_factory=dict)

    def amax(self, method: str | None = None) -> dict[str, float]:
        """Return the threshold of every tensor by name; UsageError where a tensor was not measured by that method."""
        wanted = method or self.method
        missing = next((name for name, tensor in self.tensors.items() if wanted not in tensor.amax), None)
        if missing is not None:
            known = ", ".join(self.tensors[missing].amax)
            raise UsageError(f"tensor '{missing}' must have an amax by '{wanted}', got {known}. {_AGAIN}")
        return {name: tensor.amax[wanted] for name, tensor in self.tensors.items()}

    def mismatch(self, expected: Provenance, tensors: Collection[str] = ()) -> str | None:
        """Explain why this table cannot replace a new calibration; None where it can.

        Args:
            expected: provenance of a new table; packages that it does not name may have any version.
            tensors: names that the table must hold.
        """
        own = self.provenance
        if own.graph_sha256 != expected.graph_sha256:
            return f"the graph changed ({own.graph_sha256[:12]} before, {expected.graph_sha256[:12]} now)"
        if own.image_list_sha256 != expected.image_list_sha256 or own.images != expected.images:
            return f"the images changed ({own.images} before, {expected.images} now)"
        for what, before, now in (
            ("preprocessing", own.preprocessing, expected.preprocessing),
            ("version of", {k: v for k, v in own.versions.items() if k in expected.versions}, expected.versions),
        ):
            key = next((k for k in (*now, *before) if before.get(k) != now.get(k)), None)
            if key is not None:
                return f"the {what} {key} changed ({before.get(key)} before, {now.get(key)} now)"
        missing = next((name for name in tensors if name not in self.tensors), None)
        return None if missing is None else f"the tensor '{missing}' is missing"

    def to_json(self) -> str:
        """Return indented JSON with a digest of its content; equal tables give equal texts."""
        content = {"kind": _KIND, "schema": SCHEMA, **dataclasses.asdict(self)}
        return json.dumps({**content, "digest": _digest(content)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> CalibrationTable:
        """Read the table that `to_json` wrote; ArtifactError on an edit, another schema or impossible values."""
        try:
            content = parse_json(text)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"calibration table must be JSON, got other text ({error}). {_AGAIN}") from error
        if not isinstance(content, dict) or content.get("kind") != _KIND:
            raise ArtifactError(f"calibration table must say so in 'kind', got another file. {_AGAIN}")
        if content.get("schema") != SCHEMA:
            raise ArtifactError(
                f"calibration table must have schema {SCHEMA}, got {content.get('schema')!r:.20}."
                " Upgrade hrnet-deploy, or calibrate again."
            )
        try:
            digest = content.pop("digest", None)
            if digest != _digest(content):
                raise ArtifactError(f"calibration table must be as it was written, got one that was edited. {_AGAIN}")
            return _checked(content)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise ArtifactError(
                f"calibration table must have the fields of schema {SCHEMA}, got {one_line(error, 160)}. {_AGAIN}"
            ) from error

    def save(self, path: Path) -> None:
        """Write the table atomically; UsageError where the place cannot be written to."""
        with atomic_output(path) as temporary:
            temporary.write_text(self.to_json(), encoding="ascii", newline="\n")

    @classmethod
    def load(cls, path: Path) -> CalibrationTable:
        """Read a table from a file; ArtifactError, with its name, as `from_json` or where it cannot be read."""
        try:
            return cls.from_json(read_regular(path, "calibration table", JSON_FILE_BYTES, ArtifactError))
        except MissingFileError as error:
            raise ArtifactError(str(error)) from error
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error}") from error


def _checked(content: Mapping[str, Any]) -> CalibrationTable:
    """Build a table from JSON whose digest is right, but whose author may be hostile."""
    entries = content["tensors"].items()
    tensors = {name: TensorRange(**{**entry, "quantiles": tuple(entry["quantiles"])}) for name, entry in entries}
    origin, method, scores = Provenance(**content["provenance"]), content["method"], content["scores"]
    texts, mappings = (origin.graph_sha256, origin.image_list_sha256), (origin.preprocessing, origin.versions)
    if type(origin.images) is not int or [*map(type, texts), *map(type, mappings)] != [str, str, dict, dict]:
        raise TypeError("a provenance of other types")
    for name, tensor in tensors.items():
        numbers = (tensor.low, tensor.high, tensor.count, tensor.zeros, *tensor.amax.values(), *tensor.quantiles)
        possible = all(map(_is_finite, numbers)) and method in tensor.amax
        if not possible or tensor.low > tensor.high or min(tensor.amax.values()) <= 0:
            raise ValueError(f"ranges of tensor '{name:.80}' that no calibration gives")
    if not tensors or method not in METHODS or not all(map(_is_finite, scores.values())):
        raise ValueError("no tensors, or a method that no calibration knows")
    return CalibrationTable(tensors=tensors, method=method, provenance=origin, scores=scores)


def _is_finite(value: object) -> bool:
    return type(value) in {int, float} and math.isfinite(value)  # type: ignore[arg-type]


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
