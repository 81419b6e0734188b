"""Results of predictions."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError
from hrnet_deploy.imaging.drawing import Image, captioned, tint, with_rows, write_image
from hrnet_deploy.imaging.frame import VideoFrame
from hrnet_deploy.system.text_table import printable

_GRAY = (140, 140, 140)
_SHOWN_PX = 800


if TYPE_CHECKING:

    class _EitherTask:
        """Names of both tasks: only the artifact tells its task, so type checkers accept them on every result."""

        @property
        def indices(self) -> NDArray[np.int64]: ...
        @property
        def scores(self) -> NDArray[np.float32]: ...
        @property
        def index(self) -> int: ...
        @property
        def label(self) -> str: ...
        @property
        def score(self) -> float: ...
        @property
        def probs(self) -> NDArray[np.float32]: ...
        def topk(self, k: int = 5) -> list[tuple[str, float]]: ...
        @property
        def mask(self) -> NDArray[np.uint8]: ...
        @property
        def palette(self) -> NDArray[np.uint8]: ...
        @property
        def shares(self) -> dict[str, float]: ...
        def save_mask(self, path: str | Path) -> Path: ...
else:
    _EitherTask = object


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Result(_EitherTask):
    """Result for one image; what both tasks share.

    Attributes:
        name: file name, or a generated name for arrays and video frames.
        path: file of the image, if any.
        image: BGR uint8 (H, W, 3).
        classes: class names by index.
        speed: milliseconds for this image: preprocess (decoding included), inference, postprocess.
        video: position in a video file; None for other images.
    """

    name: str
    path: Path | None
    image: Image
    classes: tuple[str, ...]
    speed: Mapping[str, float]
    video: VideoFrame | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "name": self.name,
            "path": None if self.path is None else str(self.path),
            "speed": {stage: round(ms, 3) for stage, ms in self.speed.items()},
        }

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def summary(self, most: int = 5) -> str:
        """Describe the prediction in words: at most `most` classes, best first."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return name and prediction on one line."""
        return printable(f"{self.name}: {self.summary()}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def _repr_png_(self) -> bytes:
        """Show the overlay in a notebook without HTML, at most `_SHOWN_PX` wide or high."""
        overlay = self.overlay()
        factor = min(1.0, _SHOWN_PX / max(overlay.shape[:2]))
        size = (max(1, round(overlay.shape[1] * factor)), max(1, round(overlay.shape[0] * factor)))
        shown = overlay if factor == 1 else cv2.resize(overlay, size, interpolation=cv2.INTER_AREA)
        return cv2.imencode(".png", shown)[1].tobytes()

    def _repr_html_(self) -> str:
        """Show the overlay above the prediction in a notebook."""
        encoded = base64.b64encode(self._repr_png_()).decode()
        return (
            f'<figure style="margin:0"><img alt="" src="data:image/png;base64,{encoded}">'
            f"<figcaption>{html.escape(str(self))}</figcaption></figure>"
        )

    def overlay(self, *, legend: bool | None = None) -> Image:
        """Draw the prediction on the image.

        Args:
            legend: add a panel with names below, which makes the image higher. None adds it to images but not to
                video frames, whose overlays must all have the frame's size.

        Returns:
            BGR uint8 (H, W, 3), a new image.
        """
        raise NotImplementedError

    def _has_legend(self, legend: bool | None) -> bool:  # noqa: FBT001
        return self.video is None if legend is None else legend

    def save(self, path: str | Path) -> Path:
        """Write the overlay and return its path.

        Args:
            path: image file; its extension chooses the format.

        Raises:
            UsageError: OpenCV does not know the format, or the folder cannot be written to.
        """
        target = Path(path)
        write_image(target, self.overlay())
        return target


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ClassificationResult(Result):
    """Classes from best to worst.

    Attributes:
        indices: class indices, int64 (k,); k is the number of classes, or less where the artifact outputs a top-k.
        scores: probabilities of these classes, float32 (k,).
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
            UsageError: the artifact outputs a top-k only.
        """
        if len(self.indices) != len(self.classes):
            raise UsageError(
                f"probs need every class, got a top-{len(self.indices)} from the graph. Use topk(), "
                "or export with labels_out='softmax'."
            )
        by_class = np.empty(len(self.classes), np.float32)
        by_class[self.indices] = self.scores
        return by_class

    def topk_records(self, k: int = 5) -> list[dict[str, Any]]:
        """Return `topk` as plain values, ready for JSON."""
        return [{"class": name, "score": score} for name, score in self.topk(k)]

    def topk(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the best classes.

        Args:
            k: number of classes; fewer are returned where there are fewer.

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
        """Name the best classes and their probabilities, best first."""
        return ", ".join(f"{name} {score:.3f}" for name, score in self.topk(most))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values under mmpretrain's names: pred_label is the index, pred_class the name.

        `pred_scores` is by class index, or by rank (with `pred_labels`) where the artifact outputs a top-k.
        """
        prediction: dict[str, Any] = {"pred_label": self.index, "pred_score": self.score, "pred_class": self.label}
        if len(self.indices) == len(self.classes):
            prediction["pred_scores"] = self.probs.tolist()
        else:
            prediction |= {"pred_labels": self.indices.tolist(), "pred_scores": self.scores.tolist()}
        return super().to_dict() | prediction

    def overlay(self, *, legend: bool | None = None) -> Image:
        """Draw the image above a panel with the five best classes.

        Args:
            legend: False keeps the image's size and writes the best class into it; None does so for video frames only.

        Returns:
            BGR uint8 (H, W, 3), a new image.
        """
        if not self._has_legend(legend):
            return captioned(self.image, f"{self.label} {self.score:.1%}")
        rows = [(name, score, _GRAY) for name, score in self.topk(5)]
        return with_rows(self.image, rows)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class SegmentationResult(Result):
    """A class for every pixel of the image.

    Attributes:
        mask: class ids, uint8 (H, W), at the image's own size.
        palette: class colors, RGB uint8 (classes, 3).
    """

    mask: NDArray[np.uint8]
    palette: NDArray[np.uint8]

    @property
    def shares(self) -> dict[str, float]:
        """Share of the image by class name, 0..1, largest first; absent classes are left out."""
        pixels: dict[str, int] = {}
        for index, count in enumerate(np.bincount(self.mask.ravel())[: len(self.classes)].tolist()):
            name = self.classes[index]  # a model from elsewhere may use one name twice
            pixels[name] = pixels.get(name, 0) + count
        largest_first = sorted(pixels.items(), key=lambda entry: -entry[1])
        return {name: count / self.mask.size for name, count in largest_first if count}

    def summary(self, most: int = 4) -> str:
        """Name the classes with the largest shares of the image."""
        return ", ".join(f"{name} {share:.1%}" for name, share in list(self.shares.items())[:most])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: image size and the share of each class present, without the mask (`save_mask`)."""
        height, width = self.mask.shape
        return super().to_dict() | {"height": height, "width": width, "shares": self.shares}

    def overlay(self, alpha: float = 0.55, *, legend: bool | None = None) -> Image:
        """Tint the image by class and add a legend of the classes present.

        Args:
            alpha: weight of the colors, 0..1.
            legend: False keeps the image's size and adds no names; None does so for video frames only.

        Returns:
            BGR uint8 (H, W, 3), a new image.
        """
        tinted = tint(self.image, self.mask, self.palette, alpha)
        if not self._has_legend(legend):
            return tinted
        colors = {name: tuple(int(v) for v in rgb[::-1]) for name, rgb in zip(self.classes, self.palette, strict=True)}
        rows = [(name, share, (*colors[name],)) for name, share in self.shares.items() if share >= 0.005]
        return with_rows(tinted, rows)  # type: ignore[arg-type]  # three ints each, which tuple() hides

    def save_mask(self, path: str | Path) -> Path:
        """Write the class ids as a one-channel image and return its path.

        Args:
            path: image file of a lossless format, such as .png.

        Raises:
            UsageError: a lossy or unknown format, or the folder cannot be written to.
        """
        target = Path(path)
        if target.suffix.lower() not in {".png", ".tif", ".tiff", ".bmp"}:
            raise UsageError(f"a mask needs a lossless image format, got '{target.suffix}'. Use .png.")
        write_image(target, self.mask)
        return target
