"""The images that changed, as small pictures that lie inside the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path

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
"""Vermilion, blue and yellow of Okabe and Ito, which the colour-blind tell apart. Source: jfly.uni-koeln.de/color."""

_MASK_ALPHA = 0.6
_WIDE_PX = 480
_SMALL_PX = 160
_QUALITY = 72
_EXACT = 101
"""What OpenCV takes as lossless."""
_STRIPE_PX = 2
_FEW = 0.02
"""Share of changed pixels below which they are painted wider than they are."""


@dataclass(frozen=True)
class Panel:
    """One small picture.

    Attributes:
        caption: under it.
        alt: what it shows, for those who do not see it.
        uri: the picture as a data URI.
        size_hw: its (height, width) in pixels.
    """

    caption: str
    alt: str
    uri: str = field(repr=False)
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class Exhibit:
    """An image that changed, and what to show of it.

    Attributes:
        image: what changed.
        panels: pictures of it; none where pictures may not be passed on and there is nothing else to show.
        shown: segmentation: indices of the classes in the panels.
    """

    image: LabelChange | ChangedImage
    panels: tuple[Panel, ...]
    shown: tuple[int, ...] = ()


def flip_exhibit(flip: LabelChange, *, photos: bool) -> Exhibit:
    """Show an image that is classified otherwise.

    Args:
        flip: the image.
        photos: whether the picture itself may be shown.

    Returns:
        The exhibit.

    Raises:
        ImageError: the file changed since it was evaluated.
    """
    if not photos:
        return Exhibit(flip, ())
    picture = _fitting(_image(flip.path), _SMALL_PX)
    return Exhibit(flip, (_panel("", f"the image {flip.name}", picture),))


def mask_exhibit(
    changed: ChangedImage, reference: ModelRunner, candidate: ModelRunner, label: NDArray[np.uint8], *, photos: bool
) -> Exhibit:
    """Show an image that is segmented otherwise: both masks, and where they differ.

    Args:
        changed: the image.
        reference: the reference.
        candidate: the candidate.
        label: right class of each pixel, uint8 (H, W), 255 where it is not judged.
        photos: whether the picture itself may be shown.

    Returns:
        The exhibit.

    Raises:
        ImageError: the file changed since it was evaluated.
        DeviceError: the runtime failed.
    """
    image = _image(changed.path)
    size_hw = (label.shape[0], label.shape[1])
    if image.shape[:2] != size_hw:
        raise ImageError(f"image '{changed.path}' must stay as it was evaluated, got another size. Run it again.")
    ours, theirs = _mask(reference, image, size_hw), _mask(candidate, image, size_hw)
    colours = colors_of(reference.card)
    backdrop = image if photos else np.full_like(image, 255)
    alpha = _MASK_ALPHA if photos else 1.0
    painted = paint_changes(image if photos else None, ours, theirs, label)
    shares = f"{changed.lost:.2%} of the judged pixels lost (solid), {changed.gained:.2%} gained (striped)"
    masks = [_fitting(tint(backdrop, mask, colours, alpha), _WIDE_PX) for mask in (ours, theirs)]
    panels = (
        _panel(_painted(ours, theirs), f"{changed.name}: {shares}", painted, flat=not photos),
        _panel("reference's answer", f"mask of the reference for {changed.name}", masks[0], flat=not photos),
        _panel("candidate's answer", f"mask of the candidate for {changed.name}", masks[1], flat=not photos),
    )
    return Exhibit(changed, panels, tuple(np.union1d(ours, theirs).tolist()))


def paint_changes(
    image: Image | None, reference: NDArray[np.uint8], candidate: NDArray[np.uint8], label: NDArray[np.uint8]
) -> Image:
    """Paint the pixels that changed.

    A pixel of the result is painted where any pixel it stands for changed, so that thin changes survive the shrinking;
    where few changed, their neighbours are painted too, or nobody would see them.
    What is lost is solid, what is gained is striped, so that colour is not needed to tell them apart; the rest, wrong
    both times or not judged, is yellow.

    Args:
        image: BGR uint8 (H, W, 3), shown in light grey; None for the outlines of the reference's mask.
        reference: its mask, uint8 (H, W).
        candidate: its mask, uint8 (H, W).
        label: right class of each pixel, uint8 (H, W), 255 where it is not judged.

    Returns:
        BGR uint8, at most 480 pixels a side.
    """
    differ, judged = reference != candidate, label != IGNORE
    lost = differ & judged & (reference == label)
    gained = differ & judged & (candidate == label)
    base = _fitting(_outlines(reference) if image is None else image, _WIDE_PX)
    grey = cv2.cvtColor(base, cv2.COLOR_BGR2GRAY)
    result = cv2.cvtColor(np.asarray(110 + 0.55 * grey, np.uint8), cv2.COLOR_GRAY2BGR)
    rows, columns = np.indices(grey.shape)
    stripes = (rows + columns) // _STRIPE_PX % 2 == 0
    wide = float(differ.mean()) < _FEW
    for places, colour, pattern in (
        (differ & ~lost & ~gained, OTHER_RGB, None),
        (gained, GAINED_RGB, stripes),
        (lost, LOST_RGB, None),
    ):
        painted = _any(places, grey.shape, wide=wide)
        result[painted] = colour[::-1]
        if pattern is not None:
            result[painted & pattern] = (255, 255, 255)
    return np.asarray(result, np.uint8)


def _painted(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> str:
    few = float(np.mean(ours != theirs)) < _FEW
    return "changed pixels, drawn wider than they are" if few else "changed pixels"


def _any(places: NDArray[np.bool_], size_hw: tuple[int, ...], *, wide: bool) -> NDArray[np.bool_]:
    """Shrink: true where any of the pixels is; `wide` adds their neighbours."""
    target = np.zeros(size_hw, np.bool_)
    rows, columns = np.nonzero(places)
    target[rows * size_hw[0] // places.shape[0], columns * size_hw[1] // places.shape[1]] = True
    if not wide:
        return target
    return np.asarray(cv2.dilate(target.astype(np.uint8), np.ones((3, 3), np.uint8)), np.bool_)


def _outlines(mask: NDArray[np.uint8]) -> Image:
    """Where a mask's classes meet, dark on white."""
    edges = np.zeros(mask.shape, np.bool_)
    edges[1:] |= mask[1:] != mask[:-1]
    edges[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    grey = np.where(edges, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


def _mask(network: ModelRunner, image: Image, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    rows = network.prepare(image)
    (outputs,) = network.run([rows], 1)
    return network.mask(outputs, rows, size_hw)


def _image(path: Path) -> Image:
    return read_frame(str(path)).image


def _fitting(image: Image, side: int) -> Image:
    """The picture with no side longer than this; a small one stays as it is."""
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _panel(caption: str, alt: str, image: Image, *, flat: bool = False) -> Panel:
    """A picture as WebP; one of few flat colours is exact and still smaller."""
    quality = _EXACT if flat else _QUALITY
    encoded = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
    uri = "data:image/webp;base64," + base64.b64encode(encoded.tobytes()).decode()
    return Panel(caption, alt, uri, (image.shape[0], image.shape[1]))
