"""What a calibration table was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hrnet_deploy.calibration.fields import AGAIN, checked_whole
from hrnet_deploy.errors import UsageError


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
                raise UsageError(f"{name} must be 64 hexadecimal digits, got {digest!r:.80}. {AGAIN}")
        checked_whole("images", self.images, 1)
        for name in ("preprocessing", "versions"):
            if not isinstance(getattr(self, name), Mapping):
                raise UsageError(f"{name} must be a table, got {getattr(self, name)!r:.60}. {AGAIN}")
        if not all(isinstance(text, str) for pair in self.versions.items() for text in pair):
            raise UsageError(f"versions must map names to texts, got {dict(self.versions)!r:.60}. {AGAIN}")
        try:
            plain = json.loads(json.dumps(self.preprocessing, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise UsageError(f"preprocessing must hold what JSON can, got {error}. {AGAIN}") from error
        object.__setattr__(self, "preprocessing", plain)
        object.__setattr__(self, "versions", dict(self.versions))
