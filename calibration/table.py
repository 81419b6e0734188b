"""The calibration table: what one pass of images found out about every tensor, as one JSON file."""

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

from hrnet_deploy.artifact import atomic_output
from hrnet_deploy.calibration.histogram import Histogram
from hrnet_deploy.calibration.thresholds import METHODS
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError

SCHEMA = 1
"""Version of the JSON; another one is refused."""
AUTO = "auto"
"""The method that is chosen by scores."""
QUANTILES = 16
"""Entries of a tensor's histogram summary."""
_KIND = "hrnet-deploy calibration table"
_AGAIN = "Calibrate again."


@dataclass(frozen=True)
class TensorRange:
    """What was seen of one tensor.

    Attributes:
        low: smallest value.
        high: largest value.
        amax: by method, the magnitude that is mapped to the last level; positive.
        count: number of values.
        zeros: how many are exactly zero.
        quantiles: summary of the histogram: magnitudes below which 1/16, 2/16, ... 16/16 of all values lie.
    """

    low: float
    high: float
    amax: Mapping[str, float]
    count: int
    zeros: int
    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", _number("low", self.low))
        object.__setattr__(self, "high", _number("high", self.high))
        if self.low > self.high:
            raise UsageError(f"low must not exceed high, got {self.low} and {self.high}. {_AGAIN}")
        if not isinstance(self.amax, Mapping) or not self.amax:
            raise UsageError(f"amax must map methods to numbers, got {self.amax!r:.60}. {_AGAIN}")
        object.__setattr__(self, "amax", {_method("amax", m): _positive(f"amax {m}", v) for m, v in self.amax.items()})
        _whole("count", self.count, 1)
        _whole("zeros", self.zeros, 0)
        if self.zeros > self.count:
            raise UsageError(f"zeros must not exceed count, got {self.zeros} of {self.count}. {_AGAIN}")
        if not isinstance(self.quantiles, (list, tuple)):
            raise UsageError(f"quantiles must be a list, got {self.quantiles!r:.60}. {_AGAIN}")
        quantiles = tuple(_number("quantiles", v) for v in self.quantiles)
        if len(quantiles) != QUANTILES or quantiles[0] < 0 or list(quantiles) != sorted(quantiles):
            raise UsageError(f"quantiles must be {QUANTILES} rising magnitudes, got {str(quantiles)[:60]}. {_AGAIN}")
        object.__setattr__(self, "quantiles", quantiles)

    @classmethod
    def measured(cls, histogram: Histogram, amax: Mapping[str, float]) -> TensorRange:
        """What a histogram says.

        Args:
            histogram: at least one value.
            amax: by method.

        Returns:
            The range with the histogram's summary.

        Raises:
            UsageError: no values, or an amax that cannot be used.
        """
        if not histogram.count:
            raise UsageError("a histogram must hold values, got none. Give calibration images.")
        running = np.cumsum(histogram.counts)
        wanted = running[-1] * np.arange(1, QUANTILES + 1) / QUANTILES
        edges = (np.searchsorted(running, wanted) + 1) * histogram.width
        quantiles = tuple(float(v) for v in np.minimum(edges, histogram.absmax))
        return cls(histogram.low, histogram.high, amax, histogram.count, histogram.zeros, quantiles)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a table was made from.

    Attributes:
        graph_sha256: digest of the float32 graph, weights and structure.
        image_list_sha256: digest of the images; see `images.image_list_hash`.
        images: how many.
        preprocessing: the card's, as JSON holds it; enums and tuples are brought to that form.
        versions: package to version, of what the numbers depend on.
    """

    graph_sha256: str
    image_list_sha256: str
    images: int
    preprocessing: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("graph_sha256", "image_list_sha256"):
            digest = getattr(self, name)
            if not isinstance(digest, str) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
                raise UsageError(f"{name} must be 64 hexadecimal digits, got {digest!r:.80}. {_AGAIN}")
        _whole("images", self.images, 1)
        for name in ("preprocessing", "versions"):
            if not isinstance(getattr(self, name), Mapping):
                raise UsageError(f"{name} must be a table, got {getattr(self, name)!r:.60}. {_AGAIN}")
        if not all(isinstance(text, str) for pair in self.versions.items() for text in pair):
            raise UsageError(f"versions must map names to texts, got {dict(self.versions)!r:.60}. {_AGAIN}")
        try:
            plain = json.loads(json.dumps(self.preprocessing, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise UsageError(f"preprocessing must hold what JSON can, got {error}. {_AGAIN}") from error
        object.__setattr__(self, "preprocessing", plain)
        object.__setattr__(self, "versions", dict(self.versions))


@dataclass(frozen=True, kw_only=True)
class CalibrationTable:
    """Ranges of every tensor by every method; all renderings are made from it.

    Attributes:
        tensors: by name.
        method: the one in use.
        provenance: what it was made from.
        scores: of each method tried by the automatic choice, higher is better; empty where the user chose.
    """

    tensors: Mapping[str, TensorRange]
    method: str
    provenance: Provenance
    scores: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tensors:
            raise UsageError(f"tensors must hold at least one, got none. {_AGAIN}")
        _method("method", self.method)
        if not isinstance(self.scores, Mapping):
            raise UsageError(f"scores must map methods to numbers, got {self.scores!r:.60}. {_AGAIN}")
        scores = {_method("scores", m): _number(f"scores {m}", v) for m, v in self.scores.items()}
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "tensors", dict(self.tensors))
        self.amax()

    def amax(self, method: str | None = None) -> dict[str, float]:
        """Largest magnitude of every tensor.

        Args:
            method: None for the one in use.

        Returns:
            By tensor name, in the table's order.

        Raises:
            UsageError: a tensor was not measured by that method.
        """
        wanted = method or self.method
        missing = next((name for name, tensor in self.tensors.items() if wanted not in tensor.amax), None)
        if missing is not None:
            known = ", ".join(self.tensors[missing].amax)
            raise UsageError(f"tensor '{missing}' must have an amax by '{wanted}', got {known}. {_AGAIN}")
        return {name: tensor.amax[wanted] for name, tensor in self.tensors.items()}

    def mismatch(self, expected: Provenance, method: str | None = None, tensors: Collection[str] = ()) -> str | None:
        """Why this table cannot stand for a new calibration.

        Args:
            expected: what a new one would be made from; packages it does not name may be of any version.
            method: the one asked for, AUTO included; None for any.
            tensors: names that must be in it.

        Returns:
            The reason, such as "the images changed (512 before, 256 now)"; None where it can be used.
        """
        mine = self.provenance
        if mine.graph_sha256 != expected.graph_sha256:
            return f"the graph changed ({mine.graph_sha256[:12]} before, {expected.graph_sha256[:12]} now)"
        if mine.image_list_sha256 != expected.image_list_sha256 or mine.images != expected.images:
            return f"the images changed ({mine.images} before, {expected.images} now)"
        for what, before, now in (
            ("preprocessing", mine.preprocessing, expected.preprocessing),
            ("version of", {k: v for k, v in mine.versions.items() if k in expected.versions}, expected.versions),
        ):
            key = next((k for k in (*now, *before) if before.get(k) != now.get(k)), None)
            if key is not None:
                return f"the {what} {key} changed ({before.get(key)} before, {now.get(key)} now)"
        if method == AUTO and not self.scores:
            return f"the method {AUTO} is missing: no scores were recorded"
        for name in (*tensors, *self.tensors):
            if name not in self.tensors:
                return f"the tensor '{name}' is missing"
            if method not in (None, AUTO, *self.tensors[name].amax):
                return f"the method {method} is missing for the tensor '{name}'"
        return None

    def to_json(self) -> str:
        """Indented JSON with a digest of its content; equal tables give equal texts."""
        content = {"kind": _KIND, "schema": SCHEMA, **dataclasses.asdict(self)}
        return json.dumps({**content, "digest": _digest(content)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CalibrationTable:
        """Read a table.

        Args:
            text: what `to_json` wrote.

        Returns:
            An equal table.

        Raises:
            ArtifactError: no table, one of another schema, a value that cannot be used, or edited by hand.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"calibration table must be JSON, got other text ({error}). {_AGAIN}") from error
        if not isinstance(content, dict) or content.get("kind") != _KIND:
            raise ArtifactError(f"calibration table must say so in 'kind', got another file. {_AGAIN}")
        if content.get("schema") != SCHEMA:
            raise ArtifactError(
                f"calibration table must have schema {SCHEMA}, got {content.get('schema')!r:.20}."
                " Upgrade hrnet-deploy, or calibrate again."
            )
        digest = content.pop("digest", None)
        where = ""
        try:
            tensors = {}
            for name, entry in content["tensors"].items():
                where = f"tensor '{name:.80}': "
                tensors[name] = TensorRange(**entry)
            where = ""
            provenance = Provenance(**content["provenance"])
            table = cls(
                tensors=tensors, method=content["method"], provenance=provenance, scores=content.get("scores", {})
            )
            genuine = digest == _digest(content)
        except UsageError as error:
            raise ArtifactError(f"calibration table: {where}{error}") from error
        except KeyError as error:
            raise ArtifactError(f"calibration table must have a field {error}, got none. {_AGAIN}") from error
        except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise ArtifactError(
                f"calibration table must have the fields of schema {SCHEMA}, got {where}{error}. {_AGAIN}"
            ) from error
        if not genuine:
            raise ArtifactError(f"calibration table must be as it was written, got one that was edited. {_AGAIN}")
        return table

    def save(self, path: str | Path) -> None:
        """Write the table, whole or not at all.

        Args:
            path: the file; an existing one is replaced.

        Raises:
            UsageError: the place cannot be written to.
        """
        with atomic_output(Path(path)) as temporary:
            temporary.write_text(self.to_json(), encoding="ascii", newline="\n")

    @classmethod
    def load(cls, path: str | Path) -> CalibrationTable:
        """Read a table from a file.

        Args:
            path: the file.

        Returns:
            The table.

        Raises:
            MissingFileError: no such file.
            ArtifactError: as `from_json`, after the file's name; or it cannot be read.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="ascii"))
        except FileNotFoundError as error:
            raise MissingFileError(f"calibration table must exist, got {path}. Check the path.") from error
        except OSError as error:
            raise ArtifactError(f"{path}: calibration table cannot be read ({error.strerror}). Check it.") from error
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{path}: calibration table must be text, got other bytes. {_AGAIN}") from error
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error}") from error


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, got {value!r:.60}. {_AGAIN}")
    return float(value)


def _positive(name: str, value: Any) -> float:
    number = _number(name, value)
    if number <= 0:
        raise UsageError(f"{name} must be positive, got {value!r:.60}. {_AGAIN}")
    return number


def _whole(name: str, value: Any, least: int) -> None:
    if type(value) is not int or value < least:
        raise UsageError(f"{name} must be a whole number from {least} up, got {value!r:.60}. {_AGAIN}")


def _method(name: str, method: Any) -> str:
    if method not in METHODS:
        raise UsageError(f"{name} must be of a method among {', '.join(METHODS)}, got {method!r:.60}. {_AGAIN}")
    return str(method)
