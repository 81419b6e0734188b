"""What a run was asked for, and the files it makes once: pictures, checkpoints, artefacts."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

import hrnet_deploy
from hrnet_deploy import export
from hrnet_deploy.pipeline.agreement import AgreementError
from hrnet_deploy.probe import probe_images

NETS = {
    "hrnet_w18_small_v2": (224, 224),
    "hrnet_w18": (224, 224),
    "hrnet_w48": (224, 224),
    "hrnetv2_w18_small_v1": (512, 1024),
    "hrnetv2_w18_small_v2": (512, 1024),
}
"""Nets of the table and their (height, width)."""
QUICK_NETS = ("hrnet_w18_small_v2",)
SHARED = Path(__file__).resolve().parents[3] / "shared"
CALIBRATION_IMAGES = 8
ALL_INT8 = "keep_fp_none"
_MAKERS = ("calibration", "exporters", "models", "pipeline")


@dataclass(frozen=True)
class Setting:
    """What a run was asked for.

    Attributes:
        folder: for files, kept or not.
        data: folder of JPEGs.
        seconds: for one group of contenders.
        quick: as little as shows that it works.
        compiled: nets for which torch.compile takes part.
    """

    folder: Path
    data: Path
    seconds: float
    quick: bool
    compiled: frozenset[str]

    @property
    def rounds(self) -> int:
        """Rounds to make at least."""
        return 1 if self.quick else 3

    def jpegs(self, count: int) -> list[Path]:
        """Some pictures, repeated where there are fewer."""
        found = sorted(p for p in self.data.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg"})
        return [found[index % len(found)] for index in range(count)]

    def photos(self, count: int) -> Path:
        """A folder of so many JPEGs."""
        folder = self.folder / f"photos-{count}"
        folder.mkdir(exist_ok=True)
        for index, file in enumerate(self.jpegs(count)):
            (folder / f"{index:03}.jpg").write_bytes(file.read_bytes())
        return folder

    def artefact_path(self, variant: str, precision: str, imgsz: tuple[int, int], *ends: str) -> Path:
        """Where ours lies, beside others that this version of the exporting code made."""
        name = "-".join((variant, precision, f"{imgsz[0]}x{imgsz[1]}", *ends))
        return self.folder / f"ours-{_code()}" / f"{name}.onnx"

    def artefact(self, variant: str, precision: str, imgsz: tuple[int, int], weights: Path, *ends: str) -> Path:
        """Ours, exported once.

        Args:
            variant: net.
            precision: "fp32" or "int8".
            imgsz: (height, width).
            weights: checkpoint, or the path "random".
            ends: "pixels_in", "labels_out", `ALL_INT8`.

        Returns:
            An .onnx file.
        """
        options: dict[str, Any] = {end: True for end in ends if end != ALL_INT8}
        options |= {"keep_fp": "none"} if ALL_INT8 in ends else {}
        if precision == "int8":
            options |= {"calib_data": self.data, "calib_images": CALIBRATION_IMAGES, "calib_method": "minmax"}
            options |= {"allow_val": True, "keep_rejected": True}

        path = self.artefact_path(variant, precision, imgsz, *ends)

        def make(unfinished: Path) -> None:
            say(f"exports {path.stem}")
            with contextlib.suppress(AgreementError):  # random weights answer at random
                export(variant, weights=str(weights), precision=precision, imgsz=imgsz, output=unfinished, **options)

        return made(path, make)


def made(path: Path, make: Callable[[Path], object]) -> Path:
    """A file or folder that is made where there is none; what is interrupted leaves none.

    Args:
        path: where it shall lie.
        make: writes it to the path it is given.

    Returns:
        `path`.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"unfinished-{path.name}")
        make(unfinished)
        unfinished.replace(path)
    return path


def made_photos(folder: Path) -> Path:
    """Synthetic JPEGs of a camera picture's size, where there are no real ones."""
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(probe_images(16, (375, 500))):
        cv2.imwrite(str(folder / f"{index:03}.jpg"), image)
    return folder


def say(text: str) -> None:
    """A line on stderr: what runs now."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@functools.cache
def _code() -> str:
    """What changes when exporting may give another file."""
    root = Path(hrnet_deploy.__file__).parent
    digest = hashlib.sha256()
    for folder in _MAKERS:
        for file in sorted((root / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
