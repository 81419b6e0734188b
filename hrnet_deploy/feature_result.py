"""Features of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError
from hrnet_deploy.imaging.frame import VideoFrame


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureResult:
    """Features of one image, as the model computes them: nothing is normalized.

    Attributes:
        name: file name, or a generated name for arrays and video frames.
        path: file of the image, if any.
        vectors: by output, embeddings, float32 (C,).
        maps: by output, such as "map_4" at a quarter of the input's size, feature maps, float32 (C, H, W).
        speed: milliseconds for this image: preprocess (decoding included), inference, postprocess.
        video: position in a video file; None for other images.
    """

    name: str
    path: Path | None
    vectors: Mapping[str, NDArray[np.float32]]
    maps: Mapping[str, NDArray[np.float32]]
    speed: Mapping[str, float]
    video: VideoFrame | None = None

    @property
    def pooled(self) -> NDArray[np.float32]:
        """Embedding before the last layer of a classifier, float32 (2048,).

        Raises:
            UsageError: the artifact does not have it.
        """
        if "pooled" not in self.vectors:
            have = ", ".join([*self.vectors, *self.maps])
            raise UsageError(
                f"pooled needs an artifact with that output, got {have}. Export it with --features pooled."
            )
        return self.vectors["pooled"]

    def normalized(self) -> NDArray[np.float32]:
        """Return the embedding at length 1, so that a dot product of two is their cosine similarity.

        Returns:
            float32 (2048,); zeros stay zeros.

        Raises:
            UsageError: the artifact does not have `pooled`.
        """
        pooled = self.pooled
        return np.asarray(pooled / (float(np.linalg.norm(pooled)) or 1.0), np.float32)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return all features by output."""
        return {**self.vectors, **self.maps}
