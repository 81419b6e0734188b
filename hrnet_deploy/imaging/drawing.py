"""Drawing of results: tinted masks, legends and bars, and the image files of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.errors import UsageError

Image = NDArray[np.uint8]
"""BGR uint8 (H, W, 3)."""

_INK = (32, 32, 32)
_PAPER = (250, 250, 250)
_BAR = (196, 132, 50)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MIN_WIDTH_PX = 320
_MAX_ENLARGED_HEIGHT_PX = 4 * _MIN_WIDTH_PX


def tint(image: Image, mask: NDArray[np.uint8], palette_rgb: NDArray[np.uint8], alpha: float) -> Image:
    """Blend RGB class colors (classes, 3) over a BGR image by its mask (H, W); ids beyond the palette stay untinted."""
    table = np.zeros((1, 256, 3), np.uint8)
    table[0, : len(palette_rgb)] = palette_rgb[:, ::-1]
    colors = cv2.LUT(cv2.merge((mask, mask, mask)), table)
    blended = np.asarray(cv2.addWeighted(colors, alpha, image, 1 - alpha, 0, dst=colors), np.uint8)
    if int(mask.max(initial=0)) >= len(palette_rgb):
        untinted = mask >= len(palette_rgb)
        blended[untinted] = image[untinted]
    return blended


def with_rows(image: Image, rows: Sequence[tuple[str, float, tuple[int, int, int]]]) -> Image:
    """Add a panel under an image: one row each with a swatch, a name, a bar and a percentage.

    The rows are (name, share 0..1, BGR color); a small image is enlarged to make the text legible.
    """
    if image.shape[1] < _MIN_WIDTH_PX:
        # A thin, tall image is enlarged less, to limit its height, and paper fills the rest.
        factor = min(_MIN_WIDTH_PX / image.shape[1], max(1.0, _MAX_ENLARGED_HEIGHT_PX / image.shape[0]))
        size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        enlarged = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
        paper = _MIN_WIDTH_PX - size[0]
        image = np.asarray(cv2.copyMakeBorder(enlarged, 0, 0, 0, paper, cv2.BORDER_CONSTANT, value=_PAPER), np.uint8)
    width = image.shape[1]
    scale = float(np.clip(width / 900, 0.45, 1.6))
    step = round(36 * scale) + 4
    panel = np.full((step * len(rows) + step // 2, width, 3), _PAPER, np.uint8)
    name_x, bar_x, text_x = step, int(width * 0.5), int(width * 0.86)
    for index, (name, share, color) in enumerate(rows):
        middle = step // 4 + step * index + step // 2
        half = step // 4
        cv2.rectangle(panel, (step // 3, middle - half), (step // 3 + half * 2, middle + half), color, cv2.FILLED)
        baseline = middle + round(10 * scale)
        text = _fitting(name, scale, bar_x - name_x - step // 2)
        cv2.putText(panel, text, (name_x + step // 6, baseline), _FONT, scale * 0.8, _INK, 1, cv2.LINE_AA)
        length = max(2, int((text_x - bar_x - step // 2) * min(max(share, 0.0), 1.0)))
        cv2.rectangle(panel, (bar_x, middle - half), (bar_x + length, middle + half), _BAR, cv2.FILLED)
        cv2.putText(panel, f"{share:.1%}", (text_x, baseline), _FONT, scale * 0.8, _INK, 1, cv2.LINE_AA)
    return np.vstack([image, panel])


def captioned(image: Image, text: str) -> Image:
    """Write a line, cut to fit, into the lower left corner of a copy of an image."""
    drawn = image.copy()
    height, width = image.shape[:2]
    scale = float(np.clip(width / 900, 0.45, 1.6))
    text = _fitting(text, scale, width - 8)
    (wide, high), below = cv2.getTextSize(text, _FONT, scale * 0.8, 1)
    cv2.rectangle(drawn, (0, height - high - below - 8), (wide + 8, height), _PAPER, cv2.FILLED)
    cv2.putText(drawn, text, (4, height - below - 4), _FONT, scale * 0.8, _INK, 1, cv2.LINE_AA)
    return drawn


def _fitting(text: str, scale: float, width: int) -> str:
    """Cut a text to a width, in characters that the Hershey font has."""
    text = text.encode("ascii", "replace").decode()
    while len(text) > 1 and cv2.getTextSize(text, _FONT, scale * 0.8, 1)[0][0] > width:
        text = text[:-2].rstrip(" .") + "."
    return text


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an image, gray (H, W) or BGR (H, W, 3), in the format of the path's extension."""
    try:
        fits, encoded = cv2.imencode(path.suffix or ".", image)
    except cv2.error as error:
        raise UsageError(f"image file needs an image extension, got '{path.name}'. Use .png or .jpg.") from error
    if not fits:
        height, width = image.shape[:2]
        raise UsageError(f"image must fit its format, got {height}x{width} for '{path.name}'. Use .png.")
    # A power cut may cost an image, which can be drawn again; waiting for the disk would take longer than drawing.
    with atomic_output(path, durable=False) as temporary:
        temporary.write_bytes(encoded.tobytes())
