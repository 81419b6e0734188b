"""Fields of a calibration table: its provenance, and the check of the values that a file holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

AGAIN = "Calibrate again."
"""The advice about a table that cannot be used."""


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

    def __post_init__(self) -> None:
        object.__setattr__(self, "preprocessing", json.loads(json.dumps(self.preprocessing)))


def is_finite_number(value: object) -> bool:
    """Whether a value read from JSON is a finite number."""
    return type(value) in {int, float} and math.isfinite(value)  # type: ignore[arg-type]


def provenance_from_json(content: Mapping[str, Any]) -> Provenance:
    """Read a provenance; raises TypeError or ValueError on fields of another type."""
    provenance = Provenance(**content)
    digests = (provenance.graph_sha256, provenance.image_list_sha256)
    tables = (provenance.preprocessing, provenance.versions)
    if not all(isinstance(d, str) for d in digests) or type(provenance.images) is not int:
        raise TypeError("a provenance must hold two digests and a number of images")
    if not all(isinstance(table, Mapping) for table in tables):
        raise TypeError("a provenance must hold preprocessing and versions by name")
    return provenance
