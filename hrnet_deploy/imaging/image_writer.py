"""Image files that appear only when complete."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.errors import UsageError


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an image, gray (H, W) or BGR (H, W, 3), in the format of the path's extension."""
    try:
        fits, encoded = cv2.imencode(path.suffix or ".", image)
    except cv2.error as error:
        raise UsageError(f"picture needs an image extension, got '{path.name}'. Use .png or .jpg.") from error
    if not fits:
        height, width = image.shape[:2]
        raise UsageError(f"picture must fit its format, got {height}x{width} for '{path.name}'. Use .png.")
    with atomic_output(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
