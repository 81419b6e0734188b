"""The calibration table: what one pass of images found out about every tensor, as one JSON file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.calibration.fields import AGAIN, checked_method, checked_number
from hrnet_deploy.calibration.provenance import Provenance
from hrnet_deploy.calibration.tensor_range import TensorRange
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError

SCHEMA = 1
"""Version of the JSON; another one is refused."""
AUTO = "auto"
"""The method that is chosen by scores."""
_KIND = "hrnet-deploy calibration table"


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
            raise UsageError(f"tensors must hold at least one, got none. {AGAIN}")
        checked_method("method", self.method)
        if not isinstance(self.scores, Mapping):
            raise UsageError(f"scores must map methods to numbers, got {self.scores!r:.60}. {AGAIN}")
        scores = {checked_method("scores", m): checked_number(f"scores {m}", v) for m, v in self.scores.items()}
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
            raise UsageError(f"tensor '{missing}' must have an amax by '{wanted}', got {known}. {AGAIN}")
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
            raise ArtifactError(f"calibration table must be JSON, got other text ({error}). {AGAIN}") from error
        if not isinstance(content, dict) or content.get("kind") != _KIND:
            raise ArtifactError(f"calibration table must say so in 'kind', got another file. {AGAIN}")
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
                where = f"tensor {name!r:.82}: "
                tensors[name] = TensorRange(**entry)
            where = ""
            provenance = Provenance(**content["provenance"])
            table = cls(
                tensors=tensors, method=content["method"], provenance=provenance, scores=content.get("scores", {})
            )
            genuine = digest == _digest(content)
        except UsageError as error:
            raise ArtifactError(f"calibration table: {where}{_on_one_line(error)}") from error
        except KeyError as error:
            raise ArtifactError(f"calibration table must have a field {error}, got none. {AGAIN}") from error
        except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise ArtifactError(
                f"calibration table must have the fields of schema {SCHEMA}, got {where}{_on_one_line(error)}. {AGAIN}"
            ) from error
        if not genuine:
            raise ArtifactError(f"calibration table must be as it was written, got one that was edited. {AGAIN}")
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
            raise ArtifactError(f"{path}: calibration table must be text, got other bytes. {AGAIN}") from error
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error}") from error


def _on_one_line(error: Exception) -> str:
    """What it says; Python's own messages quote names as they are."""
    return " ".join(str(error).split())


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
