"""What a prediction gives back."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.errors import UsageError
from hrnet_deploy.imaging.drawing import Image, captioned, tint, with_rows
from hrnet_deploy.imaging.sources import VideoFrame
from hrnet_deploy.system.text_table import printable

_GREY = (140, 140, 140)
_SHOWN_PX = 800


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Result:
    """What both tasks share.

    Attributes:
        name: file name, or a made one for arrays and video frames.
        path: the file, where there is one.
        image: the picture, BGR uint8 (H, W, 3).
        classes: class names by index.
        speed: milliseconds for this image: preprocess (decoding included), inference, postprocess.
        video: where in a video file the picture lies; None for other pictures.
    """

    name: str
    path: Path | None
    image: Image
    classes: tuple[str, ...]
    speed: Mapping[str, float]
    video: VideoFrame | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "name": self.name,
            "path": None if self.path is None else str(self.path),
            "speed": {stage: round(ms, 3) for stage, ms in self.speed.items()},
        }

    def to_json(self) -> str:
        """`to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def summary(self, most: int = 5) -> str:
        """The answer in words: at most so many classes, best first."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Name and answer on one line."""
        return printable(f"{self.name}: {self.summary()}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def _repr_png_(self) -> bytes:
        """What a notebook without HTML shows: the overlay, at most `_SHOWN_PX` wide or high."""
        picture = self.overlay()
        factor = min(1.0, _SHOWN_PX / max(picture.shape[:2]))
        size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
        shown = picture if factor == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return cv2.imencode(".png", shown)[1].tobytes()

    def _repr_html_(self) -> str:
        """What a notebook shows: the overlay above the answer."""
        encoded = base64.b64encode(self._repr_png_()).decode()
        return (
            f'<figure style="margin:0"><img alt="" src="data:image/png;base64,{encoded}">'
            f"<figcaption>{html.escape(str(self))}</figcaption></figure>"
        )

    def overlay(self, *, legend: bool | None = None) -> Image:
        """The picture with the answer drawn on it, BGR uint8.

        Args:
            legend: add a panel with names below, which makes the picture higher; None for pictures, but not for frames
                of a video, whose overlays must all have one size: the picture's own.
        """
        raise NotImplementedError

    def _has_legend(self, legend: bool | None) -> bool:  # noqa: FBT001
        return self.video is None if legend is None else legend

    def save(self, path: str | Path) -> Path:
        """Write the overlay.

        Args:
            path: an image file name; the extension chooses the format.

        Returns:
            The path.

        Raises:
            UsageError: OpenCV knows no such format, or the folder cannot be written to.
        """
        target = Path(path)
        _write_image(target, self.overlay())
        return target


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ClassificationResult(Result):
    """Classes from best to worst.

    Attributes:
        indices: class indices, int64 (k,); k is the number of classes but for artefacts that answer with a top-k.
        scores: their probabilities, float32 (k,).
    """

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]

    @property
    def index(self) -> int:
        """Index of the best class."""
        return int(self.indices[0])

    @property
    def label(self) -> str:
        """Name of the best class."""
        return self.classes[self.index]

    @property
    def score(self) -> float:
        """Probability of the best class."""
        return float(self.scores[0])

    @property
    def probs(self) -> NDArray[np.float32]:
        """Probability by class index, float32 (classes,).

        Raises:
            UsageError: the artefact answers with a top-k only.
        """
        if len(self.indices) != len(self.classes):
            raise UsageError(
                f"probs need every class, got a top-{len(self.indices)} from the graph. Use topk(), "
                "or export with labels_out='softmax'."
            )
        result = np.empty(len(self.classes), np.float32)
        result[self.indices] = self.scores
        return result

    def topk(self, k: int = 5) -> list[tuple[str, float]]:
        """The best classes.

        Args:
            k: how many; fewer come back where there are fewer.

        Returns:
            (name, probability), best first.

        Raises:
            UsageError: k is negative.
        """
        if k < 0:
            raise UsageError(f"top-k must be 0 or more, got {k}. Ask for 5.")
        best = zip(self.indices[:k], self.scores[:k], strict=True)
        return [(self.classes[int(index)], float(score)) for index, score in best]

    def summary(self, most: int = 5) -> str:
        """The best classes and their probabilities, best first."""
        return ", ".join(f"{name} {score:.3f}" for name, score in self.topk(most))

    def to_dict(self) -> dict[str, Any]:
        """Plain values under mmpretrain's names: pred_label is the index, pred_class the name.

        `pred_scores` is by class index, or by rank (with `pred_labels`) where the artefact answers with a top-k.
        """
        answer: dict[str, Any] = {"pred_label": self.index, "pred_score": self.score, "pred_class": self.label}
        if len(self.indices) == len(self.classes):
            answer["pred_scores"] = self.probs.tolist()
        else:
            answer |= {"pred_labels": self.indices.tolist(), "pred_scores": self.scores.tolist()}
        return super().to_dict() | answer

    def overlay(self, *, legend: bool | None = None) -> Image:
        """The picture above a panel with the five best classes, BGR uint8.

        Args:
            legend: False for the picture's own size, with the best class written into it; None for that in frames of a
                video only.
        """
        if not self._has_legend(legend):
            return captioned(self.image, f"{self.label} {self.score:.1%}")
        rows = [(name, score, _GREY) for name, score in self.topk(5)]
        return with_rows(self.image, rows)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class SegmentationResult(Result):
    """A class for every pixel of the picture.

    Attributes:
        mask: class ids, uint8 (H, W), at the picture's own size.
        palette: class colours, RGB uint8 (classes, 3).
    """

    mask: NDArray[np.uint8]
    palette: NDArray[np.uint8]

    @property
    def shares(self) -> dict[str, float]:
        """Share of the picture by class name, 0..1, largest first; absent classes are left out."""
        pixels: dict[str, int] = {}
        for index, count in enumerate(np.bincount(self.mask.ravel())[: len(self.classes)].tolist()):
            name = self.classes[index]  # a foreign net may use one name twice
            pixels[name] = pixels.get(name, 0) + count
        largest_first = sorted(pixels.items(), key=lambda entry: -entry[1])
        return {name: count / self.mask.size for name, count in largest_first if count}

    def summary(self, most: int = 4) -> str:
        """The classes with the largest shares of the picture."""
        return ", ".join(f"{name} {share:.1%}" for name, share in list(self.shares.items())[:most])

    def to_dict(self) -> dict[str, Any]:
        """Plain values: picture size and the share of each class present; the mask itself is for `save_mask`."""
        height, width = self.mask.shape
        return super().to_dict() | {"height": height, "width": width, "shares": self.shares}

    def overlay(self, alpha: float = 0.55, *, legend: bool | None = None) -> Image:
        """The picture tinted by class above a legend of the classes present, BGR uint8.

        Args:
            alpha: weight of the colours, 0..1.
            legend: False for the picture's own size, without names; None for that in frames of a video only.
        """
        tinted = tint(self.image, self.mask, self.palette, alpha)
        if not self._has_legend(legend):
            return tinted
        colours = {name: tuple(int(v) for v in rgb[::-1]) for name, rgb in zip(self.classes, self.palette, strict=True)}
        rows = [(name, share, (*colours[name],)) for name, share in self.shares.items() if share >= 0.005]
        return with_rows(tinted, rows)  # type: ignore[arg-type]  # three ints each, which tuple() hides

    def save_mask(self, path: str | Path) -> Path:
        """Write the class ids as a one-channel image.

        Args:
            path: a lossless format, such as .png.

        Returns:
            The path.

        Raises:
            UsageError: a lossy or unknown format, or a folder that cannot be written to.
        """
        target = Path(path)
        if target.suffix.lower() not in {".png", ".tif", ".tiff", ".bmp"}:
            raise UsageError(f"a mask needs a lossless image format, got '{target.suffix}'. Use .png.")
        _write_image(target, self.mask)
        return target


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    try:
        fits, encoded = cv2.imencode(path.suffix or ".", image)
    except cv2.error as error:
        raise UsageError(f"picture needs an image extension, got '{path.name}'. Use .png or .jpg.") from error
    if not fits:
        height, width = image.shape[:2]
        raise UsageError(f"picture must fit its format, got {height}x{width} for '{path.name}'. Use .png.")
    with atomic_output(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
