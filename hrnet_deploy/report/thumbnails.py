"""The images that changed, as thumbnails embedded in the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import ImageError
from hrnet_deploy.evaluation.comparison import ChangedImage, LabelChange
from hrnet_deploy.evaluation.metrics.segmentation import IGNORE
from hrnet_deploy.evaluation.model_runner import ModelRunner
from hrnet_deploy.imaging.drawing import Image, tint
from hrnet_deploy.imaging.palettes import colors_of
from hrnet_deploy.imaging.sources import read_frame

LOST_RGB = (213, 94, 0)
GAINED_RGB = (0, 114, 178)
OTHER_RGB = (240, 228, 66)
"""Vermilion, blue and yellow of Okabe and Ito, distinct to color-blind readers. Source: jfly.uni-koeln.de/color."""

_MASK_ALPHA = 0.6
_SCENE_PX = 480
_PHOTO_PX = 160
_QUALITY = 72
_LOSSLESS = 101
"""Quality that OpenCV encodes losslessly."""
_STRIPE_PX = 2
_FEW = 0.02
"""Share of changed pixels below which they are drawn enlarged."""


@dataclass(frozen=True)
class Panel:
    """One thumbnail: the text below it, the text for readers who do not see it, and the image as a data URI."""

    caption: str
    alt: str
    uri: str = field(repr=False)
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class ExampleImage:
    """An image whose output changed, with its thumbnails and the indices of the classes in them."""

    image: LabelChange | ChangedImage
    panels: tuple[Panel, ...]
    shown_classes: tuple[int, ...] = ()


def flip_example(flip: LabelChange, *, photos: bool) -> ExampleImage:
    """Show an image whose class changed, without a thumbnail where photos may not be shown."""
    if not photos:
        return ExampleImage(flip, ())
    photo = _shrink(read_frame(str(flip.path)).image, _PHOTO_PX)
    return ExampleImage(flip, (_panel("", f"the image {flip.name}", photo),))


def mask_example(
    changed: ChangedImage, networks: Sequence[ModelRunner], label: NDArray[np.uint8], *, photos: bool
) -> ExampleImage:
    """Show an image whose mask changed: the changed pixels, and the masks of the reference and the candidate."""
    image = read_frame(str(changed.path)).image
    size_hw = (label.shape[0], label.shape[1])
    if image.shape[:2] != size_hw:
        raise ImageError(f"image '{changed.path}' must stay as it was evaluated, got another size. Run it again.")
    masks = [network.segment(image) for network in networks]
    colors = colors_of(networks[0].card)
    backdrop = image if photos else np.full_like(image, 255)
    alpha = _MASK_ALPHA if photos else 1.0
    tinted = [_shrink(tint(backdrop, mask, colors, alpha), _SCENE_PX) for mask in masks]
    painted = paint_changes(image if photos else None, masks[0], masks[1], label)
    few = float(np.mean(masks[0] != masks[1])) < _FEW
    shares = f"{changed.lost:.2%} of the judged pixels lost (solid), {changed.gained:.2%} gained (striped)"
    texts = [("changed pixels, enlarged" if few else "changed pixels", f"{changed.name}: {shares}")]
    texts += [(f"mask of the {who}", f"mask of the {who} for {changed.name}") for who in ("reference", "candidate")]
    panels = (_panel(*text, shown, flat=not photos) for text, shown in zip(texts, (painted, *tinted), strict=True))
    return ExampleImage(changed, tuple(panels), tuple(np.union1d(masks[0], masks[1]).tolist()))


def paint_changes(
    image: Image | None, reference: NDArray[np.uint8], candidate: NDArray[np.uint8], label: NDArray[np.uint8]
) -> Image:
    """Paint the changed pixels on a small gray copy of the image, or on the outlines of the reference's mask."""
    # Lost pixels are solid, gained ones striped, so the pattern alone tells them apart. The rest is yellow: wrong in
    # both masks, or not judged. Where few changed, their neighbors are painted too.
    differ, judged = reference != candidate, label != IGNORE
    lost = differ & judged & (reference == label)
    gained = differ & judged & (candidate == label)
    base = _shrink(_draw_outlines(reference) if image is None else image, _SCENE_PX)
    gray = cv2.cvtColor(base, cv2.COLOR_BGR2GRAY)
    result = cv2.cvtColor(np.asarray(110 + 0.55 * gray, np.uint8), cv2.COLOR_GRAY2BGR)
    rows, columns = np.indices(gray.shape)
    stripes = (rows + columns) // _STRIPE_PX % 2 == 0
    enlarge = float(differ.mean()) < _FEW
    for places, color in ((differ & ~lost & ~gained, OTHER_RGB), (gained, GAINED_RGB), (lost, LOST_RGB)):
        painted = _shrink_any(places, gray.shape, enlarge=enlarge)
        result[painted] = color[::-1]
        if color is GAINED_RGB:
            result[painted & stripes] = (255, 255, 255)
    return np.asarray(result, np.uint8)


def _shrink_any(places: NDArray[np.bool_], size_hw: tuple[int, ...], *, enlarge: bool) -> NDArray[np.bool_]:
    """Shrink a mask: a pixel is true where any of its source pixels is; `enlarge` adds the neighbors."""
    target = np.zeros(size_hw, np.bool_)
    rows, columns = np.nonzero(places)
    target[rows * size_hw[0] // places.shape[0], columns * size_hw[1] // places.shape[1]] = True
    if not enlarge:
        return target
    return np.asarray(cv2.dilate(target.astype(np.uint8), np.ones((3, 3), np.uint8)), np.bool_)


def _draw_outlines(mask: NDArray[np.uint8]) -> Image:
    """Draw the borders between a mask's classes, black on white."""
    edges = np.zeros(mask.shape, np.bool_)
    edges[1:] |= mask[1:] != mask[:-1]
    edges[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    gray = np.where(edges, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), np.uint8)


def _shrink(image: Image, side: int) -> Image:
    """Limit both sides of an image to `side` pixels; a small one keeps its size."""
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _panel(caption: str, alt: str, image: Image, *, flat: bool = False) -> Panel:
    """Encode an image as WebP; few flat colors are smaller without loss."""
    quality = _LOSSLESS if flat else _QUALITY
    encoded = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
    uri = "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()
    return Panel(caption, alt, uri, (image.shape[0], image.shape[1]))
